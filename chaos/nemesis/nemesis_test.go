package nemesis

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var five = Site{Zones: []int{0, 1, 2, 0, 1}}

func schedule(seed uint64) []Fault {
	return Schedule(rand.New(rand.NewPCG(seed, 0)), five, time.Minute, 20*time.Minute, 10*time.Second, true)
}

func TestTheSameSeedGivesTheSameSchedule(t *testing.T) {
	if diff := cmp.Diff(schedule(7), schedule(7)); diff != "" {
		t.Errorf("two schedules of one seed differ (-first +second):\n%s", diff)
	}
	if cmp.Equal(schedule(7), schedule(8)) {
		t.Error("two seeds give the same schedule")
	}
}

func TestFaultsStrikeKnownHostsWithinTheirTime(t *testing.T) {
	for seed := range uint64(50) {
		for _, f := range schedule(seed) {
			if f.At < time.Minute || f.At >= 20*time.Minute || f.For <= 0 {
				t.Errorf("seed %d: %v begins at %v", seed, f, f.At)
			}
			if len(f.Hosts) == 0 && !f.Leader && !f.Exclusive {
				t.Errorf("seed %d: %v strikes nobody", seed, f)
			}
			if !slices.IsSorted(f.Hosts) || slices.ContainsFunc(f.Hosts, func(h int) bool { return h < 0 || h >= 5 }) {
				t.Errorf("seed %d: %v has bad hosts %v", seed, f, f.Hosts)
			}
		}
	}
}

func TestFaultsInTheMiddleOfMovesAreOfManyKinds(t *testing.T) {
	seen := map[Kind]bool{}
	for seed := range uint64(10) {
		faults := Moves(rand.New(rand.NewPCG(seed, 0)), time.Minute, 20*time.Minute, 45*time.Second)
		if len(faults) < 10 || len(faults) > 60 {
			t.Errorf("seed %d: there are %d", seed, len(faults))
		}
		for _, f := range faults {
			seen[f.Kind] = true
			if !f.Moving || len(f.Hosts) > 0 || f.For <= 0 || f.At < time.Minute || f.At >= 20*time.Minute {
				t.Errorf("seed %d: %v begins at %v", seed, f, f.At)
			}
		}
	}
	for _, kind := range []Kind{Crash, PowerOff, Split, Deaf, Mute, Pause} {
		if !seen[kind] {
			t.Errorf("%v is never drawn", kind)
		}
	}
}

func TestEveryKindIsDrawnAndOneCutIsLong(t *testing.T) {
	seen := map[Kind]int{}
	for seed := range uint64(20) {
		long := 0
		for _, f := range schedule(seed) {
			seen[f.Kind]++
			if f.For == LongCut {
				long++
			}
		}
		if long != 1 {
			t.Errorf("seed %d has %d long cuts, want 1", seed, long)
		}
	}
	for kind := range names {
		if seen[kind] == 0 {
			t.Errorf("%v is never drawn", kind)
		}
	}
}
