package sitetime

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func begun() Clock { return Start(Stamp{Time: noon, Reference: noon}, 0) }

func TestSiteTimeFollowsTheMiddleOfTheClocks(t *testing.T) {
	const passed = 10 * time.Minute
	now := noon.Add(passed)
	for name, c := range map[string]struct {
		clocks []time.Duration // against the true time
		voters int
		want   time.Duration
	}{
		"three agree":                          {[]time.Duration{0, 0, 0}, 3, 0},
		"the median leads":                     {[]time.Duration{time.Minute, time.Second, -time.Hour}, 3, time.Second},
		"one of three is years ahead":          {[]time.Duration{0, 90_000 * time.Hour, 0}, 3, 0},
		"one of three is in 1970":              {[]time.Duration{0, 0, -400_000 * time.Hour}, 3, 0},
		"two of five are wrong":                {[]time.Duration{0, 0, 0, 9000 * time.Hour, 9000 * time.Hour}, 5, 0},
		"two known, one is ahead":              {[]time.Duration{0, 5 * time.Hour}, 3, 0},
		"two known, both are ahead":            {[]time.Duration{time.Minute, 5 * time.Hour}, 3, time.Minute},
		"two known of two voters":              {[]time.Duration{-time.Hour, 5 * time.Hour}, 2, 0},
		"only its own is known of three":       {[]time.Duration{30 * time.Minute}, 3, 0},
		"the only voter's clock leads":         {[]time.Duration{30 * time.Minute}, 1, 30 * time.Minute},
		"never more than an hour ahead":        {[]time.Duration{9600 * time.Hour, 9600 * time.Hour, 9600 * time.Hour}, 3, Slack},
		"all fell back to 1970: it runs on":    {[]time.Duration{-400_000 * time.Hour, -400_000 * time.Hour}, 3, 0},
		"a little behind: it runs more slowly": {[]time.Duration{-time.Hour, -time.Hour, -time.Hour}, 3, -passed / slowdown},
		"hardly behind: it waits for them":     {[]time.Duration{-time.Second, -time.Second, 0}, 3, -time.Second},
		"no clock is known":                    {nil, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			clock := begun()
			var clocks []time.Time
			for _, off := range c.clocks {
				clocks = append(clocks, now.Add(off))
			}
			if got := clock.Advance(clocks, c.voters, passed); got.Time.Sub(now) != c.want {
				t.Errorf("site time is off by %s, want %s", got.Time.Sub(now), c.want)
			}
		})
	}
}

func TestAnOperatorsWordBeginsAnEra(t *testing.T) {
	clock := begun()
	back := Stamp{Time: noon.Add(-1000 * time.Hour), Reference: noon.Add(-1000 * time.Hour), Era: 1}
	clock.Observe(back, time.Minute)
	if got := clock.At(2 * time.Minute); !got.Time.Equal(back.Time.Add(time.Minute)) {
		t.Errorf("it shows %s", got.Time)
	}
	clock.Observe(Stamp{Time: noon.Add(time.Hour), Reference: noon}, 2*time.Minute)
	if got := clock.At(2 * time.Minute); got.Era != 1 || got.Time.After(noon) {
		t.Errorf("a stamp of the era before moved it to %s", got.Time)
	}
}

// TestAnOldStampOfTheLogDoesNotStopTheClock: a voter applied it after it last
// heard the coordinator, and looks at it when it is elected, long after.
func TestAnOldStampOfTheLogDoesNotStopTheClock(t *testing.T) {
	clock := begun()
	inLog := Stamp{Time: noon.Add(time.Second), Reference: noon.Add(time.Second)}
	clock.Reach(inLog, time.Minute)
	if got := clock.At(time.Minute); !got.Time.Equal(noon.Add(time.Minute)) {
		t.Errorf("after a minute it shows %s", got.Time)
	}
	ahead := Stamp{Time: noon.Add(time.Hour), Reference: noon}
	clock.Reach(ahead, time.Minute)
	if got := clock.At(time.Minute); !got.Time.Equal(ahead.Time) {
		t.Errorf("the log is at %s, it shows %s", ahead.Time, got.Time)
	}
}

// TestStampsNeverGoBackNorRunAhead lets a majority of the clocks do whatever
// they like.
func TestStampsNeverGoBackNorRunAhead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock, follower := begun(), begun()
		elapsed, last := time.Duration(0), Stamp{Time: noon, Reference: noon}
		for range rapid.IntRange(1, 60).Draw(t, "stamps") {
			elapsed += time.Duration(rapid.Int64Range(0, int64(3*time.Hour)).Draw(t, "passed"))
			clocks := make([]time.Time, rapid.IntRange(0, 5).Draw(t, "known"))
			for i := range clocks {
				clocks[i] = noon.Add(time.Duration(rapid.Int64Range(-int64(500_000*time.Hour), int64(500_000*time.Hour)).Draw(t, "clock")))
			}
			stamp := clock.Advance(clocks, rapid.IntRange(1, 5).Draw(t, "voters"), elapsed)
			if stamp.Time.Before(last.Time) {
				t.Fatalf("%s comes after %s", stamp.Time, last.Time)
			}
			if ahead := stamp.Time.Sub(noon.Add(elapsed)); ahead > Slack {
				t.Fatalf("it is %s ahead of the monotonic clock", ahead)
			}
			follower.Observe(stamp, elapsed)
			if got := follower.At(elapsed); !got.Time.Equal(stamp.Time) {
				t.Fatalf("who follows shows %s, not %s", got.Time, stamp.Time)
			}
			last = stamp
			if rapid.Bool().Draw(t, "another coordinator") {
				clock, follower = follower, clock
			}
		}
	})
}

// TestOneWrongClockMovesNothing: with it, site time stays between what the
// right clocks would have made of it.
func TestOneWrongClockMovesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := begun()
		voters := rapid.SampledFrom([]int{3, 5}).Draw(t, "voters")
		elapsed := time.Duration(0)
		const jitter = 2 * time.Second
		for range rapid.IntRange(1, 60).Draw(t, "stamps") {
			elapsed += time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "passed"))
			now := noon.Add(elapsed)
			wrong := time.Duration(rapid.Int64Range(-int64(500_000*time.Hour), int64(500_000*time.Hour)).Draw(t, "wrong"))
			clocks := []time.Time{now.Add(wrong)}
			for len(clocks) < rapid.IntRange(1, voters).Draw(t, "known") {
				clocks = append(clocks, now.Add(time.Duration(rapid.Int64Range(-int64(jitter), int64(jitter)).Draw(t, "jitter"))))
			}
			if off := clock.Advance(clocks, voters, elapsed).Time.Sub(now); off.Abs() > 2*jitter {
				t.Fatalf("site time is off by %s", off)
			}
		}
	})
}
