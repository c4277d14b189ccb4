package sim

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"skerry.dev/chaos/check"
	"skerry.dev/chaos/nemesis"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const siteName = "rock"

// simulationStart is what a right wall clock shows at the beginning.
var simulationStart = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// Options of one run.
type Options struct {
	Seed uint64
	// Faults is how long faults go on, after the site has come up.
	Faults time.Duration
	// Plan of the faults, times from the end of the opening; nil for the one that
	// the seed makes.
	Plan []nemesis.Fault
	// Tide of faults and people; none: they come close together all the time.
	Tide Tide
	// People are the requests that clients make, by their IDs; nil for all that the seed
	// draws.
	People map[string]bool
	// Bug is planted; empty for none.
	Bug Bug
	// Witness: the third host is one.
	Witness bool
	// Rehearse recoveries and restores beside the site.
	Rehearse bool
	// Log takes the product's own log lines; nil drops them.
	Log io.Writer
}

// Stats counts what happened in a run.
type Stats struct {
	Hosts, Faults, Events, Elections int
	// Moves of virtual machines that came to their end, and Doubts: for a while nobody
	// knew which of two nodes had one.
	Moves, Doubts int
	// WaysGiven by coordinators that stood still again and again.
	WaysGiven int
	// Writes and Reads that were answered; Unknown ones never were.
	Writes, Reads, Unknown int
	Applied                uint64
	// State is the size of the largest snapshot, in bytes.
	State int
	// Simulated time in all; Settled is how much of it everything took to be in
	// order after the last fault.
	Simulated, Settled time.Duration
}

// Result of one run.
type Result struct {
	Hash uint64
	// Violation is nil when all rules held.
	Violation *check.Violation
	// At is the simulated time of the violation.
	At    time.Duration
	Stats Stats
	trace *trace
	// plan of the faults and acts of people, as they were.
	plan []nemesis.Fault
	acts []string
}

// WriteTrace prints what happened, one line each.
func (r Result) WriteTrace(w io.Writer) error { return r.trace.write(w) }

func (r Result) String() string {
	s := r.Stats
	verdict := "all rules held"
	if r.Violation != nil {
		verdict = fmt.Sprintf("VIOLATION at %s: %v", stamp(r.At), r.Violation)
	}
	return fmt.Sprintf("hash %016x: %s; %d hosts, %v simulated, %d events, %d faults, %d elections, %d moves, %d in doubt, %d writes, %d reads, %d unknown, %d entries, settled in %v",
		r.Hash, verdict, s.Hosts, s.Simulated.Round(time.Second), s.Events, s.Faults, s.Elections, s.Moves, s.Doubts, s.Writes, s.Reads, s.Unknown,
		s.Applied, s.Settled.Round(100*time.Millisecond))
}

// world is one site and all that happens to it.
type world struct {
	options Options
	kernel  *kernel
	trace   *trace
	net     *network
	hosts   []*host
	stats   Stats
	logger  *slog.Logger

	// One stream of chance for each concern, so that more draws of one do not
	// change the others.
	secretRng, keyRng, peopleRng, wanderRng, hostRng, netRng, faultRng, clientRng *rand.Rand

	log       *check.Log
	history   *check.History
	leaders   *check.Leaders
	orders    *check.Orders
	truth     *check.Hosts
	decisions *check.Decisions
	leaves    *check.Leaves
	revoked   *revocations
	time      *check.SiteTime
	// evicting counts the nodes that are on their way out and back.
	evicting int
	// outOfService are the nodes that somebody has taken out of it, busy those with
	// which somebody is at work; late is since when a drain should have ended.
	outOfService, busy map[string]bool
	late               []time.Duration
	// wrongClocks counts the faults that set clocks wrong.
	wrongClocks int
	// init is the entry that opened the log; operators are the keys of the people.
	init      *sitev1.InitSite
	operators map[int]*operator
	// prints are the fingerprints of keys in certificates.
	prints map[*x509.Certificate][]byte
	// needs of templates, by what the states hold.
	needs map[*skerryv1.Workload]check.Needs
	// buffer of what is encoded only to be hashed, snapshot is the last one.
	buffer   []byte
	snapshot lastSnapshot
	// real capacities of the hosts.
	real map[string]*skerryv1.Capacity
	// newest state that any replica has reached.
	newest   *state.View
	injector *injector
	// planned faults, from the end of the opening, and acts of people, for the script of
	// a run.
	plannedFaults []nemesis.Fault
	acts          []string
	// available is nil until faults begin.
	available *availability
	following *check.Following

	// asked are the entries that people have asked for, by their request IDs; wishes
	// the workloads as they last did.
	asked    map[string]*sitev1.Entry
	wishes   map[string]*skerryv1.Workload
	rollouts *check.Rollouts
	runs     *check.Runs
	turns    *check.InTurn
	// moves that people asked for; proven is when each placement was last healthy, and
	// awayAt when each node was last out of reach, by the state; besides are pairs of
	// which one was out of reach when the other got a node.
	moves          map[string]bool
	proven, awayAt map[string]uint64
	besides        map[[2]string]bool
	// wrong is what is wrong with the requests that must be refused.
	wrong map[string]string
	// exits of instances that have really ended by themselves.
	exits map[string]int32
	// volumes by name, and the last of all that guests wrote.
	volumes map[string]*data
	written uint64
	// wandering counts what people have asked for about a virtual machine.
	wandering int
	// halt is nil unless people have stopped the site; stopping: somebody is at it.
	halt     *halt
	stopping bool
	// rehearsals are nil unless the run has some.
	rehearsals *rehearsals
	// tidying are workloads with whose rollouts somebody is at work.
	tidying map[string]bool

	// quiet: clients are done, faults are over.
	quiet       bool
	violation   *check.Violation
	violationAt time.Duration
}

// violate stops the run at the first broken rule.
func (w *world) violate(v *check.Violation) {
	if v == nil || w.violation != nil {
		return
	}
	w.violation, w.violationAt = v, w.kernel.now
	w.trace.note("site", "VIOLATION %v", v)
}

func (w *world) stopped() bool { return w.violation != nil }

// rngFor is the stream of chance of one concern.
func (w *world) rngFor(concern uint64) *rand.Rand {
	return rand.New(rand.NewPCG(w.options.Seed, concern))
}

// Phases of a run.
const (
	openTime, openGrace = 60 * time.Second, 5 * time.Second
	// settleTime is how soon everything must be in order after the last fault.
	settleTime = 3 * time.Minute
	// faultEvery is the mean time between the beginnings of two faults.
	faultEvery = 15 * time.Second
	clients    = 3
)

// runGuarded runs, and takes a panic for what it is: a core that broke down.
func (w *world) runGuarded() {
	defer func() {
		if cause := recover(); cause != nil {
			w.violate(&check.Violation{Rule: check.NoHalt, Message: fmt.Sprintf("panic: %v", cause)})
			w.trace.attach(string(debug.Stack()))
		}
	}()
	w.run()
}

// run lets the site come up, breaks it, and waits until all is well again.
func (w *world) run() {
	if err := w.found(); err != nil {
		panic("the site cannot be made: " + err.Error())
	}
	w.openSite(w.opening())
	w.advanceTo(openTime)
	// A secret may just have been changed.
	for len(w.unsettled()) > 0 && w.kernel.now < openTime+openGrace && !w.stopped() {
		w.advanceTo(w.kernel.now + 500*time.Millisecond)
	}
	if w.stopped() {
		return // a rule was broken already
	}
	if why := w.unsettled(); len(why) > 0 {
		w.violate(&check.Violation{Rule: check.Converges, Message: fmt.Sprintf("the site did not come up: %v", why)})
		return
	}
	w.trace.note("site", "is up, faults begin")
	w.injector = &injector{world: w}
	w.available, w.following = newAvailability(w), check.NewFollowing(heardRecently, followedWithin)
	w.available.look()
	if w.options.Rehearse {
		w.rehearse()
	}
	end := w.kernel.now + w.options.Faults
	faults := w.schedule(end)
	for _, f := range faults {
		f.At -= w.kernel.now
		w.plannedFaults = append(w.plannedFaults, f)
	}
	w.injector.plan(faults)
	for i := range clients {
		(&client{world: w, rng: w.rngFor(100 + uint64(i)), number: i + 1}).run()
	}
	for i := range registrars {
		(&client{world: w, rng: w.rngFor(200 + uint64(i)), number: clients + i + 1, registers: true}).run()
	}
	w.wander(1)
	w.advanceTo(end)
	w.quiet = true
	for (w.injector.active > 0 || w.wandering > 0) && !w.stopped() {
		w.advanceTo(w.kernel.now + time.Second)
	}
	w.settle()
	w.violate(w.history.Linearizable())
}

// schedule of the faults until end.
func (w *world) schedule(end time.Duration) []nemesis.Fault {
	if w.options.Plan != nil {
		plan := slices.Clone(w.options.Plan)
		for i := range plan {
			plan[i].At += w.kernel.now
		}
		return plan
	}
	zones := make([]int, len(w.hosts))
	for i := range zones {
		zones[i] = i % 3
	}
	faults := w.options.Tide.schedule(w.faultRng, nemesis.Site{Zones: zones}, w.kernel.now, end, w.options.Seed%3 == 0)
	faults = append(faults, w.options.Tide.moveFaults(w.rngFor(10), w.kernel.now, end)...)
	slices.SortStableFunc(faults, func(a, b nemesis.Fault) int { return cmp.Compare(a.At, b.At) })
	return faults
}

func (w *world) advanceTo(end time.Duration) {
	w.stats.Events += w.kernel.runUntil(end, w.stopped)
}

// settle waits until everything is in order.
func (w *world) settle() {
	w.trace.note("site", "faults are over")
	start := w.kernel.now
	w.tidy()
	for !w.stopped() {
		why := w.unsettled()
		w.stats.Settled = w.kernel.now - start
		if len(why) == 0 {
			w.trace.note("site", "all is well after %v", w.stats.Settled)
			return
		}
		if w.stats.Settled > settleTime {
			w.violate(&check.Violation{Rule: check.Converges, Message: fmt.Sprintf("%v after the last fault: %v", w.stats.Settled, why)})
			return
		}
		w.advanceTo(w.kernel.now + 500*time.Millisecond)
	}
}

// unsettled lists what is not in order.
func (w *world) unsettled() []string {
	if w.newest == nil || w.coordinatorHost() < 0 {
		return []string{"there is no coordinator"}
	}
	site := check.Site{
		May: func(n *skerryv1.Node, p *skerryv1.Placement) bool {
			return state.WhyNoWork(n, p.GetSpec()) == "" && state.MeetsRequirements(n, p.GetSpec()) &&
				state.WhyNoVolume(n.GetName(), p.GetSpec(), func(name string) *skerryv1.Volume { return w.newest.Volume(project, name) }) == ""
		},
		Nodes: w.newest.Nodes(), Workloads: w.newest.Workloads(), Placements: w.newest.Placements(), Needs: needsOf,
		Starts: w.truth.Starts, Running: map[string][]string{}, Members: map[string][]string{},
	}
	site.Waits = func(p *skerryv1.Placement) bool { return w.turns.Waits(p.GetWorkload(), w.newest.Index()) }
	if w.newest.Stop() != nil {
		return []string{"the site is stopped"}
	}
	if r := w.newest.Rebalance(); r != nil && r.GetEnded() == nil {
		return []string{"a rebalance is under way"}
	}
	if len(site.Nodes) < len(w.hosts) {
		return []string{fmt.Sprintf("%d of %d hosts have joined", len(site.Nodes), len(w.hosts))}
	}
	for _, h := range w.hosts {
		site.Running[h.name] = slices.Sorted(maps.Keys(h.machine.running))
		if h.process != nil {
			for _, m := range h.process.members.members() {
				site.Members[h.name] = append(site.Members[h.name], hostName(m))
			}
		}
	}
	return slices.Concat(check.Unsettled(site), w.unsettledSecrets(), w.withoutIdentity(), w.unsettledTrust(), w.unsettledVolumes())
}
