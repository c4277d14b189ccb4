package sim

import (
	"os"
	"strconv"
	"testing"
	"time"

	"skerry.dev/chaos/check"
	"skerry.dev/chaos/nemesis"
)

// episode is one way to bring out what a lease is for; all of it strikes where the
// exclusive workload runs.
type episode func(at time.Duration, seed uint64) []nemesis.Fault

// Each begins after the one before is over.
const episodeTime = 75 * time.Second

// plan of so many episodes, of these kinds in turn.
func plan(count int, episodes ...episode) []nemesis.Fault {
	var faults []nemesis.Fault
	for n := range count {
		faults = append(faults, episodes[n%len(episodes)](time.Second+time.Duration(n)*episodeTime, uint64(n))...)
	}
	return faults
}

// cutOff: its node reaches nobody.
func cutOff(at time.Duration, seed uint64) []nemesis.Fault {
	return []nemesis.Fault{{At: at, For: 30 * time.Second, Kind: nemesis.Split, Exclusive: true, Seed: seed}}
}

// standsStill: its agent does.
func standsStill(at time.Duration, seed uint64) []nemesis.Fault {
	return []nemesis.Fault{{At: at, For: 40 * time.Second, Kind: nemesis.Pause, Exclusive: true, Seed: seed}}
}

// dies: its agent does.
func dies(at time.Duration, seed uint64) []nemesis.Fault {
	return []nemesis.Fault{{At: at, For: 40 * time.Second, Kind: nemesis.Crash, Exclusive: true, Seed: seed}}
}

// losesPower: its machine does, and comes back before its lease would end.
func losesPower(at time.Duration, seed uint64) []nemesis.Fault {
	return []nemesis.Fault{{At: at, For: 3 * time.Second, Kind: nemesis.PowerOff, Exclusive: true, Seed: seed}}
}

// wrongClock: its node is cut off, and its clock jumps.
func wrongClock(at time.Duration, seed uint64) []nemesis.Fault {
	return []nemesis.Fault{
		{At: at, For: 40 * time.Second, Kind: nemesis.Split, Exclusive: true, Seed: seed},
		{At: at + 2*time.Second, For: 30 * time.Second, Kind: nemesis.ClockJump, Exclusive: true, Seed: seed},
	}
}

// lateAnswer: its agent stands still while the answer waits, then it is cut off.
func lateAnswer(at time.Duration, seed uint64) []nemesis.Fault {
	return []nemesis.Fault{
		{At: at, For: 7500 * time.Millisecond, Kind: nemesis.PauseInAsk, Exclusive: true, Seed: seed},
		{At: at + 7*time.Second, For: 40 * time.Second, Kind: nemesis.Split, Exclusive: true, Seed: seed},
	}
}

// quickSuccession: it is cut off, and one coordinator dies after the other.
func quickSuccession(at time.Duration, seed uint64) []nemesis.Fault {
	return []nemesis.Fault{
		{At: at, For: 40 * time.Second, Kind: nemesis.Split, Exclusive: true, Seed: seed},
		{At: at + 1500*time.Millisecond, For: 3 * time.Second, Kind: nemesis.PowerOff, Leader: true, Seed: seed},
		{At: at + 5*time.Second, For: 3 * time.Second, Kind: nemesis.PowerOff, Leader: true, Seed: seed},
	}
}

// deposed: it is cut off together with the coordinator, which stands still for a
// while.
func deposed(at time.Duration, seed uint64) []nemesis.Fault {
	return []nemesis.Fault{
		{At: at, For: 40 * time.Second, Kind: nemesis.Split, Leader: true, Exclusive: true, Seed: seed},
		{At: at + 200*time.Millisecond, For: 5 * time.Second, Kind: nemesis.Pause, Leader: true, Seed: seed},
	}
}

// TestWhatIsExclusiveRunsOnce: on true time, across every process.
func TestWhatIsExclusiveRunsOnce(t *testing.T) {
	count, episodes := uint64(3), 8
	if !full {
		count, episodes = 1, 3
	}
	for seed := range count {
		options := Options{
			Seed: seed + 1, Faults: time.Duration(episodes) * episodeTime,
			Plan: plan(episodes, every...),
		}
		result := simulate(t, options)
		t.Logf("seed %d: %v", options.Seed, result)
		if result.Violation != nil {
			keep(t, result)
			t.Fatal(result.Violation)
		}
	}
}

// every kind of episode, which strike both containers and virtual machines: their
// leases, guard and placements are the same code.
var every = []episode{cutOff, standsStill, deposed, dies, quickSuccession, lateAnswer, losesPower, wrongClock}

// TestManyEpisodes is `make sim-exclusive-sites`: as many episodes as are asked for, eight
// in each simulated site.
func TestManyEpisodes(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("SKERRY_SIM_EPISODES"))
	if err != nil {
		t.Skip("make sim-exclusive-sites runs it")
	}
	for done, seed := 0, uint64(1000); done < count; seed++ {
		result := simulate(t, Options{Seed: seed, Faults: time.Duration(len(every)) * episodeTime, Plan: plan(len(every), every...)})
		if result.Violation != nil {
			keep(t, result)
			t.Fatalf("seed %d: %v", seed, result.Violation)
		}
		if done += len(every); done%(100*len(every)) == 0 {
			t.Logf("%d episodes", done)
		}
	}
	t.Logf("%d episodes, nothing ran twice", count)
}

// plantedEpisodes are enough for each bug to show.
const plantedEpisodes = 6

// TestPlantedLeaseBugs: each of them lets something exclusive run twice.
func TestPlantedLeaseBugs(t *testing.T) {
	if !full {
		t.Skip("only with SKERRY_SIM=full")
	}
	for _, test := range []struct {
		bug  Bug
		plan []nemesis.Fault
	}{
		{LeaseWallClock, plan(plantedEpisodes, wrongClock)},
		{LeaseFromReceipt, plan(plantedEpisodes, lateAnswer)},
		{EagerCoordinator, plan(plantedEpisodes, quickSuccession)},
		{ForgetfulGuard, plan(plantedEpisodes, standsStill, dies)},
	} {
		t.Run(string(test.bug), func(t *testing.T) {
			for seed := range uint64(tries) {
				result := simulate(t, Options{Seed: seed + 1, Faults: plantedEpisodes * episodeTime, Plan: test.plan, Bug: test.bug})
				t.Logf("seed %d: %v", seed+1, result)
				if result.Violation == nil {
					continue
				}
				if result.Violation.Rule != check.ExclusiveOnce {
					t.Errorf("want a violation of %q", check.ExclusiveOnce)
				}
				return
			}
			t.Errorf("no rule noticed it in %d seeds", tries)
		})
	}
}
