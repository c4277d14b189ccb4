package leases

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNobodyHoldsWhatHasLapsed: however requests and decisions follow each other,
// a lease that Lapse calls ended was granted by nobody for longer, and is granted
// never again.
func TestNobodyHoldsWhatHasLapsed(t *testing.T) {
	const lease = 5 * time.Second
	rapid.Check(t, func(r *rapid.T) {
		now := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(r, "began"))
		began := now
		table := New(1, began)
		var held time.Duration // until when, by a clock that is as slow as it may be
		ended := false
		for range rapid.IntRange(1, 40).Draw(r, "events") {
			now += time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(r, "pause"))
			k := of{"default", "db-1"}
			if rapid.Bool().Draw(r, "ask") {
				received := now - time.Duration(rapid.Int64Range(0, int64(6*time.Second)).Draw(r, "round"))
				switch granted := table.grantTo(k, lease, received, now); {
				case granted && ended:
					r.Fatalf("it is granted after it had lapsed")
				case granted:
					held = max(held, received+lease+lease/100)
				}
				continue
			}
			wait := table.Lapse("default", "db-1", lease, now)
			switch due := max(held, began+lease+lease/100); {
			case wait == 0 && now < due:
				r.Fatalf("it lapses %s too early", due-now)
			case wait != 0 && (now >= due || wait != due-now):
				r.Fatalf("it waits %s, want %s", wait, due-now)
			}
			ended = ended || wait == 0
		}
	})
}
