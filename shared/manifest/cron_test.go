package manifest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func times(t testing.TB, cron, zone string) Times {
	t.Helper()
	times, err := TimesOf(&skerryv1.Schedule{Cron: cron, TimeZone: zone})
	if err != nil {
		t.Fatal(err)
	}
	return times
}

func moment(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestWhenAScheduleIsDue(t *testing.T) {
	for _, test := range []struct {
		name, cron, zone, after string
		want                    []string
	}{
		{"at three in Berlin", "0 3 * * *", "Europe/Berlin", "2026-01-01T00:00:00Z", []string{"2026-01-01T02:00:00Z", "2026-01-02T02:00:00Z"}},
		{"without a zone it is UTC", "@daily", "", "2026-01-01T00:00:00Z", []string{"2026-01-02T00:00:00Z"}},
		{"a time that spring leaves out is left out", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z",
			[]string{"2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"}},
		{"of one that autumn shows twice the first counts", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"each hour is each hour, in autumn too", "30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"}},
		{"half an hour back is seen as well", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z",
			[]string{"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
		{"the 29th of February comes", "0 0 29 2 *", "UTC", "2025-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
	} {
		schedule, at := times(t, test.cron, test.zone), moment(t, test.after)
		var got []string
		for range test.want {
			at = schedule.Next(at)
			got = append(got, at.Format(time.RFC3339))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

func TestSchedulesThatMakeNoSense(t *testing.T) {
	for _, test := range []struct{ name, cron, zone, want string }{
		{"the 30th of February", "0 0 30 2 *", "UTC", "never due"},
		{"the 31st of months that have none", "0 0 31 4,6,9,11 *", "UTC", "never due"},
		{"four fields", "* * * *", "UTC", "5 fields"},
		{"minute 99", "99 * * * *", "UTC", "above maximum"},
		{"a zone in it", "TZ=UTC 0 3 * * *", "UTC", "belongs into timeZone"},
		{"every hour from some time on", "@every 1h", "UTC", "no moment of a day"},
		{"nothing", "", "UTC", "missing"},
		{"a long one", strings.Repeat("1,", 500) + "1 * * * *", "UTC", "longer than"},
		{"a zone that there is not", "@daily", "Europe/Atlantis", "no time zone"},
		{"a zone outside", "@daily", "../../etc/passwd", "no time zone"},
		{"the zone of whoever looks", "@daily", "Local", "no time zone"},
	} {
		_, err := TimesOf(&skerryv1.Schedule{Cron: test.cron, TimeZone: test.zone})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

// TestTheLastMoment is found as by counting from the beginning.
func TestTheLastMoment(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		cron := rapid.SampledFrom([]string{"* * * * *", "*/7 * * * *", "0 3 * * *", "30 2 * * *", "0 0 1 * *", "@weekly"}).Draw(r, "cron")
		schedule := times(t, cron, rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Asia/Kathmandu"}).Draw(r, "zone"))
		after := moment(t, "2026-10-20T00:00:00Z").Add(time.Duration(rapid.IntRange(0, 1e6).Draw(r, "seconds")) * time.Second)
		until := after.Add(time.Duration(rapid.IntRange(0, 5e5).Draw(r, "more")) * time.Second)
		var want time.Time
		for at := schedule.Next(after); !at.After(until); at = schedule.Next(at) {
			want = at
		}
		if got := schedule.Last(after, until); !got.Equal(want) {
			r.Fatalf("%s after %v until %v: %v, want %v", cron, after, until, got, want)
		}
	})
}

func BenchmarkTheLastMomentOfTenYears(b *testing.B) {
	schedule, from := times(b, "* * * * *", "Europe/Berlin"), moment(b, "2020-01-01T00:00:00Z")
	for b.Loop() {
		schedule.Last(from, from.AddDate(10, 0, 0))
	}
}
