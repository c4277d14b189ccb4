package sim

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"testing/cryptotest"
	"time"

	"skerry.dev/chaos/check"
	"skerry.dev/chaos/nemesis"
	"skerry.dev/chaos/seeds"
)

const (
	// faultTime of a full run: long enough for a cut that gossip never heals by
	// itself.
	faultTime = 11 * time.Minute
	// briefTime of the run that every `go test` makes.
	briefTime = time.Minute
)

// full: the long tests run too, as in `make test-sim`.
var full = os.Getenv("SKERRY_SIM") == "full"

// simulate runs one seed. etcd raft takes its chance from crypto/rand, of the
// whole process: one seed runs at a time.
func simulate(t *testing.T, options Options) Result {
	t.Helper()
	cryptotest.SetGlobalRandom(t, options.Seed)
	defer seldomGC()()
	return Run(options)
}

// seldomGC lets garbage lie longer: there is much of it, and little that lives.
func seldomGC() (back func()) {
	before := debug.SetGCPercent(1600)
	return func() { debug.SetGCPercent(before) }
}

// keep writes the readable trace to a file and tells where.
func keep(t *testing.T, result Result) {
	t.Helper()
	path := filepath.Join(os.TempDir(), fmt.Sprintf("skerry-sim-%d.trace", os.Getpid()))
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := result.WriteTrace(file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the trace is in %s", path)
}

// paces of runs: how long faults go on, in which tide. A campaign takes many seeds,
// a night longer ones.
var paces = map[string]Options{
	"":         {Faults: faultTime},
	"campaign": {Faults: 72 * time.Minute, Tide: Tide{Wave: 170 * time.Second, Calm: 694 * time.Second}},
	"anew":     {Faults: 24 * time.Minute, Rehearse: true},
	"night":    {Faults: 24 * time.Hour, Tide: Tide{Wave: 3 * time.Minute, Calm: 57 * time.Minute}},
}

// TestSeed runs the seed of SKERRY_SIM_SEED at the pace of SKERRY_SIM_PACE and keeps
// its trace. With SKERRY_SIM_JSON it prints what chaos/seeds adds up, and keeps the
// trace of a failure alone.
func TestSeed(t *testing.T) {
	if os.Getenv("SKERRY_SIM_SEED") == "" {
		t.Skip("no seed given: make sim SEED=n")
	}
	seed := seedOf(t)
	start := time.Now()
	result := runPace(t, os.Getenv("SKERRY_SIM_PACE"), seed, Bug(os.Getenv("SKERRY_SIM_BUG")))
	if os.Getenv("SKERRY_SIM_JSON") != "" {
		seeds.Print(result.sum(seed))
		if result.Violation == nil {
			return
		}
	}
	t.Logf("seed %d, %v: %v", seed, time.Since(start).Round(time.Millisecond), result)
	keep(t, result)
	if result.Violation != nil {
		t.Error(result.Violation)
	}
}

// seedOf the environment.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("SKERRY_SIM_SEED"), 10, 64)
	if err != nil {
		t.Fatalf("SKERRY_SIM_SEED is not a number: %v", err)
	}
	return seed
}

// runPace runs a site, or for the pace "core" the consensus core alone for a day: with
// one voter, with three or with five, by the seed.
func runPace(t *testing.T, pace string, seed uint64, bug Bug) Result {
	t.Helper()
	if pace == "core" {
		return simulateCore(t, CoreOptions{Seed: seed, Voters: []int{5, 1, 3}[seed%3], Faults: 24 * time.Hour, Bug: bug})
	}
	options, known := paces[pace]
	if !known {
		t.Fatalf("SKERRY_SIM_PACE is neither core nor one of %q", slices.Sorted(maps.Keys(paces)))
	}
	options.Seed, options.Bug = seed, bug
	return simulate(t, options)
}

// sum of a run.
func (r Result) sum(seed uint64) seeds.Sum {
	s := seeds.Sum{
		Seed: seed, Hash: fmt.Sprintf("%016x", r.Hash), Simulated: r.Stats.Simulated.Seconds(), Faults: r.Stats.Faults,
		Operations: r.Stats.Writes + r.Stats.Reads, Unknown: r.Stats.Unknown, Entries: r.Stats.Applied, Elections: r.Stats.Elections, State: r.Stats.State,
	}
	if r.Violation != nil {
		s.Violation = stamp(r.At) + " " + r.Violation.Error()
	}
	return s
}

// always are the seeds of every full test run. docs/chaos.md names those that wait for a fix.
var always = []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}

// TestTenSeedsTwice: all rules hold, and the same seed makes the same history.
// Without SKERRY_SIM=full it is one seed, and brief.
func TestTenSeedsTwice(t *testing.T) {
	run, faults := always, faultTime
	if !full {
		run, faults = always[:1], briefTime
	}
	for _, seed := range run {
		options := Options{Seed: seed, Faults: faults}
		t.Run(fmt.Sprint(options.Seed), func(t *testing.T) {
			first := simulate(t, options)
			t.Log(first)
			if first.Violation != nil {
				keep(t, first)
				t.Fatalf("%v; to replay it: make sim SEED=%d", first.Violation, options.Seed)
			}
			if second := simulate(t, options); second.Hash != first.Hash {
				keep(t, second)
				t.Errorf("the same seed gives another history: %v", second)
			}
		})
	}
}

// TestSitesWithAWitness keep all rules, with a host of which two others take the
// leadership, and the work, whatever happens.
func TestSitesWithAWitness(t *testing.T) {
	run, faults := []uint64{1, 2}, faultTime
	if !full {
		run, faults = run[:1], briefTime
	}
	for _, seed := range run {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if result := simulate(t, Options{Seed: seed, Faults: faults, Witness: true}); result.Violation != nil {
				keep(t, result)
				t.Fatal(result.Violation)
			}
		})
	}
}

// TestMachinesMove, and are cut in the middle of it, so that the rules about them have
// something to judge.
func TestMachinesMove(t *testing.T) {
	plan := append(strikes(nemesis.Split, hands), strikes(nemesis.Crash, takes)...)
	result := simulate(t, Options{Seed: 2, Faults: 3 * time.Minute, Plan: plan})
	t.Log(result)
	if result.Violation != nil {
		keep(t, result)
		t.Fatal(result.Violation)
	}
	if result.Stats.Moves == 0 || result.Stats.Doubts == 0 {
		t.Errorf("%d machines moved, of %d it was not known", result.Stats.Moves, result.Stats.Doubts)
	}
}

// TestWhoStandsStillAgainAndAgainGivesWay, and is not given the office back.
func TestWhoStandsStillAgainAndAgainGivesWay(t *testing.T) {
	result := simulate(t, Options{Seed: 2, Faults: 2 * time.Minute, Plan: stutters()})
	t.Log(result)
	if result.Violation != nil {
		keep(t, result)
		t.Fatal(result.Violation)
	}
	if result.Stats.WaysGiven == 0 {
		t.Error("no coordinator gave way")
	}
}

// TestSitesThatBeginAnew are recovered and restored on the side, again and again.
func TestSitesThatBeginAnew(t *testing.T) {
	run, faults := []uint64{1, 2, 3}, faultTime
	if !full {
		run, faults = run[:1], briefTime
	}
	for _, seed := range run {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			result := simulate(t, Options{Seed: seed, Faults: faults, Rehearse: true})
			t.Log(result)
			if result.Violation != nil {
				keep(t, result)
				t.Fatal(result.Violation)
			}
		})
	}
}

// TestRegressions runs seeds that once found something.
func TestRegressions(t *testing.T) {
	if !full {
		t.Skip("only with SKERRY_SIM=full")
	}
	for _, test := range []struct {
		seed   uint64
		faults time.Duration
		// plan of the faults; nil for that of the seed.
		plan  []nemesis.Fault
		found string
	}{
		{3, 3 * time.Minute, stopsAfterPower(), "a site that was stopped just after its machines were switched on started by itself"},
		{23, 2 * time.Minute, nil, "a CA was retired that had issued an SVID to a node which the coordinator did not hear"},
		{26, faultTime, nil, "an agent that started again told that what it was to stop was gone, before it had looked: what stays ran twice"},
		{31, faultTime, nil, "what a canary had on a lost node was back, and what was to replace it got a node all the same"},
	} {
		t.Run(test.found, func(t *testing.T) {
			if result := simulate(t, Options{Seed: test.seed, Faults: test.faults, Plan: test.plan}); result.Violation != nil {
				keep(t, result)
				t.Errorf("%v; to replay it: make sim SEED=%d", result.Violation, test.seed)
			}
		})
	}
}

// tries is how many seeds may go by until a rule notices a planted bug.
const tries = 6

var (
	// beginAt these seeds, where others take long to notice a bug.
	beginAt = map[Bug]uint64{SkipSync: 2}
	// lastFor so long, where a bug shows when all is over.
	lastFor = map[Bug]time.Duration{NoRejoin: 2 * time.Minute, KeepAuthorities: 2 * time.Minute, NoPower: 2 * time.Minute, OldValues: time.Minute, KeepCopies: 2 * time.Minute}
)

// TestPlantedBugs: the rules can fail. Each bug makes the product break one
// promise, which it keeps in the same runs without the bug.
func TestPlantedBugs(t *testing.T) {
	if !full {
		t.Skip("only with SKERRY_SIM=full")
	}
	for _, test := range []struct {
		bug   Bug
		plan  []nemesis.Fault
		rules []check.Rule
	}{
		// What was not synced shows as a lost write, or as another leaf where one was
		// written already, or raft itself sees it.
		{SkipSync, manyBlackouts(), []check.Rule{check.NothingLost, check.SameLog, check.NoHalt, check.AuditLog}},
		{YesMan, manyElections(), []check.Rule{check.OneLeader}},
		{EarlyAck, nil, []check.Rule{check.NothingLost}},
		{StaleReads, splits(), []check.Rule{check.FreshReads}},
		{OldValues, exits(), []check.Rule{check.Linearizable}},
		// Leaves of the audit log bear the time that apply saw.
		{WallClock, nil, []check.Rule{check.SameState, check.AuditLog}},
		{ForgetOrders, nil, []check.Rule{check.OrdersRise}},
		{Boast, nil, []check.Rule{check.Capacity}},
		{StopAll, nil, []check.Rule{check.HealthyStays}},
		{Spill, nil, []check.Rule{check.SecretsStay}},
		{LoseLeaves, manyBlackouts(), []check.Rule{check.AuditLog}},
		{MuteAudit, nil, []check.Rule{check.AuditLog}},
		{AnyIdentity, nil, []check.Rule{check.IdentityBound}},
		{NoRejoin, longCut(), []check.Rule{check.Converges}},
		{OldTrust, evictions(), []check.Rule{check.RevokedOut}},
		{KeepAuthorities, evictions()[:1], []check.Rule{check.Converges}},
		{MuteIssuers, rotations(), []check.Rule{check.NobodyOut}},
		{SlowToFollow, splits(), []check.Rule{check.Followed}},
		{Cling, stutters(), []check.Rule{check.GivesWay}},
		{OwnClock, wrongClocks(), []check.Rule{check.TimeRuns}},
		{MixPriorities, exits(), []check.Rule{check.Priority}},
		{LoseKeepIn, exits(), []check.Rule{check.Residency}},
		{LoseMinAvailable, exits(), []check.Rule{check.MinAvailable}},
		{LoseQuota, exits(), []check.Rule{check.Quota}},
		{LoseDuty, drains(), []check.Rule{check.OutOfService}},
		{NoFloor, fullDisks(), []check.Rule{check.DiskFloor}},
		{LeakKeys, evictions(), []check.Rule{check.KeysStay}},
		{EndlessDrain, drains(), []check.Rule{check.DrainEnds}},
		{LoseCanary, exits(), []check.Rule{check.Share}},
		{LoseColors, exits(), []check.Rule{check.OneColor}},
		{LosePause, exits(), []check.Rule{check.Paused}},
		{LoseAbort, exits(), []check.Rule{check.OldTemplate}},
		{LoseAfter, exits(), []check.Rule{check.InOrder}},
		{LoseRetries, exits(), []check.Rule{check.Attempts}},
		{RunTwice, exits(), []check.Rule{check.Moments}},
		{LoseEnds, exits(), []check.Rule{check.Ends}},
		{GoodEnds, exits(), []check.Rule{check.Ends}},
		{LoseStop, stops(), []check.Rule{check.Stopped}},
		{HurryStop, stops(), []check.Rule{check.InOrder}},
		{EarlyGone, stops(), []check.Rule{check.Stopped, check.StayOnce}},
		{RestartIsPower, stops(), []check.Rule{check.Stopped}},
		{LoseRecreate, exits(), []check.Rule{check.OneTemplate}},
		{LoseExclusive, cutsOfWhatIsExclusive(), []check.Rule{check.ExclusiveOnce}},
		{TakeWrong, exits(), []check.Rule{check.WrongRefused}},
		{StrayMoves, rebalances(), []check.Rule{check.Moves}},
		{HurryMoves, rebalances(), []check.Rule{check.Moves}},
		{NoPower, darkStops(), []check.Rule{check.Stopped}},
		{ImpatientSource, strikes(nemesis.Split, hands), []check.Rule{check.OneWriter}},
		{LoseSync, strikes(nemesis.PowerOff, arrives), []check.Rule{check.NewestKept}},
		{HastyDelete, exits(), []check.Rule{check.CopyStays}},
		{KeepCopies, exits(), []check.Rule{check.Converges}},
		{ForgetHoldings, exits(), []check.Rule{check.Anew}},
		{AssumeGone, exits(), []check.Rule{check.Anew}},
	} {
		t.Run(string(test.bug), func(t *testing.T) {
			first, faults := max(1, beginAt[test.bug]), cmp.Or(lastFor[test.bug], faultTime)
			for seed := first; seed < first+tries; seed++ {
				result := simulate(t, Options{Seed: seed, Faults: faults, Plan: test.plan, Bug: test.bug, Rehearse: slices.Contains(test.rules, check.Anew)})
				t.Logf("seed %d: %v", seed, result)
				if result.Violation == nil {
					continue
				}
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

// manyElections: links are poor, and the coordinator dies again and again.
func manyElections() []nemesis.Fault {
	plan := []nemesis.Fault{{For: faultTime, Kind: nemesis.Poor, Hosts: []int{0, 1, 2}}}
	for at := time.Second; at < faultTime; at += 6 * time.Second {
		plan = append(plan, nemesis.Fault{At: at, For: 2 * time.Second, Kind: nemesis.PowerOff, Leader: true})
	}
	return plan
}

// manyBlackouts: all hosts lose power at the same moment, again and again.
func manyBlackouts() []nemesis.Fault {
	var plan []nemesis.Fault
	for at := time.Second; at < faultTime; at += 30 * time.Second {
		plan = append(plan, nemesis.Fault{At: at, For: time.Second, Kind: nemesis.Blackout, Hosts: []int{0, 1, 2}, Seed: uint64(at)})
	}
	return plan
}

// evictions of one host after the other, each for a while.
func evictions() []nemesis.Fault {
	var plan []nemesis.Fault
	for i := range 3 {
		plan = append(plan, nemesis.Fault{At: time.Second + time.Duration(i)*2*time.Minute, For: time.Minute, Kind: nemesis.Evict, Hosts: []int{i}})
	}
	return plan
}

// rotations of the CAs, each long after the one before.
func rotations() []nemesis.Fault {
	var plan []nemesis.Fault
	for at := time.Second; at < faultTime; at += time.Minute {
		plan = append(plan, nemesis.Fault{At: at, For: time.Second, Kind: nemesis.RotateAuthorities, Hosts: []int{0}})
	}
	return plan
}

// splits that take the coordinator from the others.
func splits() []nemesis.Fault {
	var plan []nemesis.Fault
	for at := 5 * time.Second; at < faultTime; at += 20 * time.Second {
		plan = append(plan, nemesis.Fault{At: at, For: 10 * time.Second, Kind: nemesis.Split, Leader: true})
	}
	return plan
}

// stutters of one host after the other: it works for a fifth of the time.
func stutters() []nemesis.Fault {
	var plan []nemesis.Fault
	for at := time.Second; at < faultTime; at += 250 * time.Millisecond {
		host := int(at/(20*time.Second)) % 3
		plan = append(plan, nemesis.Fault{At: at, For: 200 * time.Millisecond, Kind: nemesis.Pause, Hosts: []int{host}})
	}
	return plan
}

// fullDisks of one host after the other.
func fullDisks() []nemesis.Fault {
	var plan []nemesis.Fault
	for i := range 6 {
		plan = append(plan, nemesis.Fault{At: time.Duration(20*i+5) * time.Second, For: 15 * time.Second, Kind: nemesis.DiskFull, Hosts: []int{i % 3}})
	}
	return plan
}

// exits: hardly anything goes wrong.
func exits() []nemesis.Fault {
	return []nemesis.Fault{{At: time.Second, For: time.Second, Kind: nemesis.Exit, Hosts: []int{0}}}
}

// drains of one host after the other.
func drains() []nemesis.Fault {
	var plan []nemesis.Fault
	for i := range 10 {
		plan = append(plan, nemesis.Fault{At: time.Duration(i)*time.Minute + time.Second, For: 50 * time.Second, Kind: nemesis.Drain, Hosts: []int{i % 3}, Seed: uint64(i)})
	}
	return plan
}

// stops of the site, in which agents are started again.
func stops() []nemesis.Fault {
	var plan []nemesis.Fault
	for at := 20 * time.Second; at < faultTime; at += time.Minute {
		plan = append(plan, nemesis.Fault{At: at, For: 30 * time.Second, Kind: nemesis.StopSite, Hosts: []int{0}, Seed: uint64(at / time.Minute)})
		for host := range 3 {
			start := at + time.Duration(10+2*host)*time.Second
			plan = append(plan, nemesis.Fault{At: start, For: time.Second, Kind: nemesis.Crash, Hosts: []int{host}, Seed: uint64(at)})
		}
	}
	return plan
}

// rebalances, each after a node was away.
func rebalances() []nemesis.Fault {
	var plan []nemesis.Fault
	for i := range 10 {
		at := time.Duration(i)*time.Minute + time.Second
		plan = append(plan, nemesis.Fault{At: at, For: 12 * time.Second, Kind: nemesis.PowerOff, Hosts: []int{i % 3}},
			nemesis.Fault{At: at + 30*time.Second, For: 25 * time.Second, Kind: nemesis.Rebalance, Hosts: []int{0}, Seed: uint64(i)})
	}
	return plan
}

// cutsOfWhatIsExclusive, again and again.
func cutsOfWhatIsExclusive() []nemesis.Fault {
	var plan []nemesis.Fault
	for at := time.Second; at < faultTime; at += time.Minute {
		plan = append(plan, nemesis.Fault{At: at, For: 30 * time.Second, Kind: nemesis.Split, Exclusive: true})
	}
	return plan
}

// strikes in the middle of moves, at one point of them.
func strikes(kind nemesis.Kind, at point) []nemesis.Fault {
	var plan []nemesis.Fault
	for i := range uint64(20) {
		plan = append(plan, nemesis.Fault{
			At: time.Duration(30*i) * time.Second, For: 5 * time.Second, Kind: kind, Moving: true, Seed: i*uint64(points) + uint64(at),
		})
	}
	return plan
}

// darkStops, of which some end with power.
func darkStops() []nemesis.Fault {
	var plan []nemesis.Fault
	for i := range 4 {
		plan = append(plan, nemesis.Fault{At: time.Duration(25*i+10) * time.Second, For: 15 * time.Second, Kind: nemesis.StopSite, Hosts: []int{0}, Seed: uint64(i)})
	}
	return plan
}

// stopsAfterPower: two machines of three are switched on, and the site is stopped
// at about the moment at which it can be again.
func stopsAfterPower() []nemesis.Fault {
	var plan []nemesis.Fault
	for i := range 8 {
		at := time.Duration(20*i+1) * time.Second
		plan = append(plan, nemesis.Fault{At: at, For: 500 * time.Millisecond, Kind: nemesis.PowerOff, Hosts: []int{0, 1}},
			nemesis.Fault{At: at + 3500*time.Millisecond + time.Duration(i)*250*time.Millisecond, For: 8 * time.Second, Kind: nemesis.StopSite, Hosts: []int{0}})
	}
	return plan
}

// wrongClocks: that of the coordinator is wrong for most of the time.
func wrongClocks() []nemesis.Fault {
	var plan []nemesis.Fault
	for at := time.Second; at < faultTime; at += time.Minute {
		plan = append(plan, nemesis.Fault{At: at, For: 50 * time.Second, Kind: nemesis.ClockJump, Leader: true, Seed: uint64(at)})
	}
	return plan
}

// longCut is one cut that gossip does not heal.
func longCut() []nemesis.Fault {
	return []nemesis.Fault{{At: time.Second, For: time.Minute, Kind: nemesis.Split, Hosts: []int{0}}}
}
