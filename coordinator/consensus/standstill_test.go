package consensus

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// ticks are those that a replica gets which is stopped for a while, and goes on for a
// while, again and again: a tick that fell due meanwhile comes when it goes on.
func ticks(t *turns, now time.Duration, length time.Duration, works, stopped time.Duration) time.Duration {
	end, next, stops := now+length, now, now+works
	for next < end {
		if next >= stops && stopped > 0 {
			next = max(next, stops+stopped)
			stops = next + works
		}
		t.turn(next, 0)
		next += TickEvery
	}
	return end
}

func TestWhoIsStoppedAgainAndAgainIsToGiveWay(t *testing.T) {
	for _, test := range []struct {
		name           string
		works, stopped time.Duration
		due            bool
	}{
		{"works for a fifth of the time", 50 * time.Millisecond, 200 * time.Millisecond, true},
		{"works for a third of the time", 75 * time.Millisecond, 150 * time.Millisecond, true},
		{"works for a tenth of the time", 50 * time.Millisecond, 450 * time.Millisecond, true},
		{"is stopped for longer than elections may take", 100 * time.Millisecond, 600 * time.Millisecond, true},
		{"works all the time", time.Hour, 0, false},
		{"is late by as much as others that wait for a processor", 50 * time.Millisecond, 90 * time.Millisecond, false},
		{"works for more than two thirds of the time", 600 * time.Millisecond, 200 * time.Millisecond, false},
		{"is stopped for a second now and then", 3 * time.Second, time.Second, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			turns := &turns{}
			ticks(turns, time.Hour, 10*time.Second, test.works, test.stopped)
			if got := turns.standstills(); got.Due != test.due {
				t.Errorf("due is %v, want %v: %+v", got.Due, test.due, got)
			}
		})
	}
}

// A machine that has too much to do lets all wait for long; the processor is used.
func TestWhoHasTooMuchToDoDoesNotStandStill(t *testing.T) {
	for _, test := range []struct {
		share time.Duration // of 100, of each processor
		due   bool
	}{{20, true}, {30, false}, {90, false}} {
		turns := &turns{}
		for now := time.Hour; now < time.Hour+3*time.Second; now += 250 * time.Millisecond {
			turns.turn(now, now*test.share/100)
		}
		if got := turns.standstills(); got.Due != test.due {
			t.Errorf("with %d %% of each processor: %+v", test.share, got)
		}
	}
}

func TestASecondsPauseAndTwoShortOnesAreNoReason(t *testing.T) {
	turns := &turns{}
	now := ticks(turns, time.Hour, 5*time.Second, time.Hour, 0)
	for _, pause := range []time.Duration{time.Second, 150 * time.Millisecond, 150 * time.Millisecond} {
		now = ticks(turns, now+pause, 200*time.Millisecond, time.Hour, 0)
		if got := turns.standstills(); got.Due {
			t.Fatalf("it is to give way: %+v", got)
		}
	}
	if got := turns.standstills(); got.Count != 3 {
		t.Errorf("it saw %+v", got)
	}
}

func TestSoonItIsKnownWhoIsStoppedAgainAndAgain(t *testing.T) {
	turns := &turns{}
	begun := ticks(turns, time.Hour, 5*time.Second, time.Hour, 0)
	now := begun
	for !turns.standstills().Due {
		if now = ticks(turns, now, 250*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond); now-begun > 2*time.Second {
			t.Fatalf("it is not known after %s: %+v", now-begun, turns.standstills())
		}
	}
	ticks(turns, now, StillWindow+250*time.Millisecond, time.Hour, 0)
	if got := turns.standstills(); got != (Standstills{}) {
		t.Errorf("after two seconds without a pause: %+v", got)
	}
}

// However bad it is, the office is given away ever more seldom, and within minutes
// again.
func TestTheOfficeIsGivenAwayEverMoreSeldom(t *testing.T) {
	turns := &turns{}
	now, before, rest := time.Hour, time.Duration(0), time.Duration(0)
	for range 12 {
		for !turns.standstills().Due {
			now = ticks(turns, now, 250*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond)
		}
		turns.tried(firstRest)
		if turns.standstills().Due {
			t.Fatal("it is due at once again")
		}
		if before != 0 {
			if now-before < rest || now-before > mostRest+time.Second {
				t.Fatalf("the office was given away after %s, and after %s before", now-before, rest)
			}
			rest = min(now-before, mostRest)
		}
		before = now
	}
	if rest != mostRest {
		t.Errorf("in the end it rests for %s, want %s", rest, mostRest)
	}
	ticks(turns, now, 3*mostRest, time.Hour, 0)
	turns.tried(firstRest)
	if turns.rest != firstRest {
		t.Errorf("after long in order it rests for %s, want %s", turns.rest, firstRest)
	}
}

// Whatever comes: what is remembered is bounded, and no tick that is hardly late counts.
func TestAnyTicksAreJudgedWithinBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		turns := &turns{}
		now := time.Hour
		var lost time.Duration
		for _, gap := range rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(t, "gap"))
		}), 1, 200).Draw(t, "gaps") {
			now += gap
			turns.turn(now, 0)
			lost += gap
			got := turns.standstills()
			if got.Count > int(StillWindow/stillAfter) {
				t.Fatalf("it remembers %d standstills", got.Count)
			}
			if got.Lost > lost || got.Due && got.Count < stillCount {
				t.Fatalf("it saw %+v in %s", got, lost)
			}
		}
	})
}
