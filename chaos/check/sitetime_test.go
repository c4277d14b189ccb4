package check

import (
	"testing"
	"time"
)

func TestSiteTime(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name     string
		off      time.Duration
		era      uint64
		doubtful bool
		alone    bool
		want     Rule
	}{
		{"it runs with the truth", time.Second, 0, false, false, ""},
		{"it is late after everything was off", -time.Minute, 1, false, true, ""},
		{"it is late though most clocks are known", -time.Minute, 1, false, false, TimeRuns},
		{"it is moved by a few wrong clocks", time.Minute, 0, false, false, TimeRuns},
		{"it follows a wrong majority", 50 * time.Minute, 0, true, false, ""},
		{"it follows a wrong majority too far", 2 * time.Hour, 0, true, false, TimeRuns},
		{"it goes back", -time.Minute, 0, true, false, TimeRuns},
		{"an operator sets it back", -time.Minute, 1, true, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &SiteTime{}
			if test.doubtful {
				s.Doubt()
			}
			if got := first(s.Made(noon, noon, true), s.Stamped(noon, 0)); got != "" {
				t.Fatalf("the first stamp broke %q", got)
			}
			if got := first(s.Made(noon.Add(test.off), noon, !test.alone), s.Stamped(noon.Add(test.off), test.era)); got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}

// The clocks by which the slack is measured run a little wrong, for as long as the
// site runs.
func TestSiteTimeOfALongRun(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for off, want := range map[time.Duration]Rule{time.Hour + 20*time.Second: "", time.Hour + 2*time.Minute: TimeRuns} {
		s := &SiteTime{}
		s.Doubt()
		later := noon.Add(time.Hour)
		if got := first(s.Made(noon, noon, true), s.Made(later.Add(off), later, true)); got != want {
			t.Errorf("%s ahead after an hour broke %q, want %q", off, got, want)
		}
	}
}

// Right clocks that nobody sets take site time along, each second a little.
func TestSiteTimeFollowsClocksThatNobodySets(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for off, want := range map[time.Duration]Rule{40 * time.Second: "", -40 * time.Second: "", time.Minute: TimeRuns, -time.Minute: TimeRuns} {
		s := &SiteTime{}
		later := noon.Add(24 * time.Hour)
		if got := first(s.Made(noon, noon, true), s.Made(later.Add(off), later, true)); got != want {
			t.Errorf("%s off after a day broke %q, want %q", off, got, want)
		}
	}
}
