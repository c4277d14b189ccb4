package sim

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEventsHappenInOrderOfTimeAndOfTheirScheduling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := &kernel{}
		type mark struct {
			at     time.Duration
			number int
		}
		var want, got []mark
		var schedule func(depth int)
		schedule = func(depth int) {
			for range rapid.IntRange(0, 6).Draw(t, "events") {
				delay := time.Duration(rapid.IntRange(-1, 5).Draw(t, "delay"))
				m := mark{k.now + max(delay, 0), len(want)}
				want = append(want, m)
				k.after(delay, func() {
					got = append(got, m)
					if depth < 3 {
						schedule(depth + 1)
					}
				})
			}
		}
		schedule(0)
		k.runUntil(time.Hour, func() bool { return false })
		slices.SortStableFunc(want, func(a, b mark) int { return int(a.at - b.at) })
		if !slices.Equal(want, got) {
			t.Fatalf("events happened in the order %v, want %v", got, want)
		}
	})
}
