package sim

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"skerry.dev/chaos/check"
)

// leaseEpisodes of one run.
const leaseEpisodes = 100

// TestLeasesAlone: what is exclusive never runs twice, and it does run, and move.
// `make sim-exclusive` runs as many episodes as are asked for.
func TestLeasesAlone(t *testing.T) {
	count := 1000
	if asked, err := strconv.Atoi(os.Getenv("SKERRY_SIM_EPISODES")); err == nil {
		count = asked
	}
	starts, lapses, simulated := 0, 0, time.Duration(0)
	for seed := uint64(1); seed <= uint64((count+leaseEpisodes-1)/leaseEpisodes); seed++ {
		r := newLeaseRun(seed, "")
		r.run(leaseEpisodes)
		if r.violation != nil {
			t.Fatalf("seed %d at %s: %v", seed, stamp(r.at), r.violation)
		}
		starts, lapses, simulated = starts+r.starts, lapses+r.lapses, simulated+r.kernel.now
	}
	t.Logf("%d episodes in %v simulated: %d starts, %d leases called ended, nothing ran twice", count, simulated.Round(time.Second), starts, lapses)
	if starts < count/4 || lapses < count/4 {
		t.Errorf("%d starts and %d lapses in %d episodes: they hardly try anything", starts, lapses, count)
	}
}

// TestLeasesAloneAreTheSameAgain: a seed makes one history.
func TestLeasesAloneAreTheSameAgain(t *testing.T) {
	first, second := newLeaseRun(1, ""), newLeaseRun(1, "")
	first.run(leaseEpisodes)
	second.run(leaseEpisodes)
	if first.kernel.seq != second.kernel.seq || first.kernel.now != second.kernel.now || first.store.Hash() != second.store.Hash() {
		t.Errorf("seed 1 makes %d events and then %d", first.kernel.seq, second.kernel.seq)
	}
}

// TestPlantedBugsOfLeasesAlone are found within a few runs.
func TestPlantedBugsOfLeasesAlone(t *testing.T) {
	for bug, rule := range map[Bug]check.Rule{
		LeaseWallClock: check.ExclusiveOnce, LeaseFromReceipt: check.ExclusiveOnce, EagerCoordinator: check.ExclusiveOnce, ForgetfulGuard: check.ExclusiveOnce,
		EndedForEver: check.ExclusiveRuns, OneForAll: check.ExclusiveRuns,
	} {
		t.Run(fmt.Sprint(bug), func(t *testing.T) {
			for seed := uint64(1); seed <= 20; seed++ {
				r := newLeaseRun(seed, bug)
				r.run(leaseEpisodes)
				if r.violation == nil {
					continue
				}
				t.Logf("seed %d at %s: %v", seed, stamp(r.at), r.violation)
				if r.violation.Rule != rule {
					t.Errorf("want a violation of %q", rule)
				}
				return
			}
			t.Error("no rule noticed it in 20 runs")
		})
	}
}
