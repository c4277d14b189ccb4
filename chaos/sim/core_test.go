package sim

import (
	"fmt"
	"slices"
	"testing"
	"testing/cryptotest"
	"time"

	"skerry.dev/chaos/check"
)

func simulateCore(t *testing.T, options CoreOptions) Result {
	t.Helper()
	cryptotest.SetGlobalRandom(t, options.Seed)
	defer seldomGC()()
	return RunCore(options)
}

func TestTheCoreKeepsItsPromises(t *testing.T) {
	faults := 20 * time.Minute
	if full {
		faults = 6 * time.Hour
	}
	for _, voters := range []int{1, 3, 5} {
		t.Run(fmt.Sprintf("with %d voters", voters), func(t *testing.T) {
			options := CoreOptions{Seed: uint64(voters), Voters: voters, Faults: faults}
			start := time.Now()
			first := simulateCore(t, options)
			t.Logf("%.0f simulated seconds a second: %v", first.Stats.Simulated.Seconds()/time.Since(start).Seconds(), first)
			if first.Violation != nil {
				keep(t, first)
				t.Fatal(first.Violation)
			}
			if full {
				options.Faults = 20 * time.Minute
				first = simulateCore(t, options)
			}
			if second := simulateCore(t, options); second.Hash != first.Hash {
				t.Errorf("the same seed gives another history: %v", second)
			}
		})
	}
}

func TestBugsPlantedInTheCoreAreFound(t *testing.T) {
	for _, test := range []struct {
		bug   Bug
		rules []check.Rule
	}{
		{SkipSync, []check.Rule{check.NothingLost, check.SameLog, check.SameState, check.OneLeader, check.NoHalt, check.Once, check.Linearizable, check.FreshReads}},
		{YesMan, []check.Rule{check.OneLeader, check.NothingLost, check.SameLog, check.SameState, check.NoHalt}},
		{EarlyAck, []check.Rule{check.NothingLost}},
		{StaleReads, []check.Rule{check.FreshReads, check.Linearizable}},
		{BelieveFlips, []check.Rule{check.NothingLost, check.SameLog, check.SameState, check.OneLeader, check.NoHalt, check.Once, check.Linearizable, check.FreshReads}},
	} {
		t.Run(string(test.bug), func(t *testing.T) {
			for seed := uint64(1); seed < 1+tries; seed++ {
				result := simulateCore(t, CoreOptions{Seed: seed, Voters: 3, Faults: 3 * time.Hour, Bug: test.bug})
				if result.Violation == nil {
					continue
				}
				t.Logf("seed %d: %v", seed, result)
				if !slices.Contains(test.rules, result.Violation.Rule) {
					keep(t, result)
					t.Errorf("want a violation of one of %q", test.rules)
				}
				return
			}
			t.Errorf("no rule noticed it in %d seeds", tries)
		})
	}
}
