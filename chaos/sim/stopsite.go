package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// stopTime is how long the order of a stop is kept.
	stopTime = 20 * time.Second
	// darkTime is how long the machines of a stopped site are off at most.
	darkTime = 10 * time.Second
	// powerStarts is how soon a site whose machines are on again has started, when
	// somebody coordinates.
	powerStarts = time.Minute
)

// halt is what people know of a stop that they have asked for.
type halt struct {
	deadline time.Time
	// boots of each host when it began.
	boots []int
}

// reported are the nodes that have reported to this coordinator
// (coordinator/api/power.go).
func (c *coordinator) reported() []string {
	var nodes []string
	for _, s := range c.served {
		if s.acknowledged > 0 && !slices.Contains(nodes, s.node) {
			nodes = append(nodes, s.node)
		}
	}
	return nodes
}

func (w *world) mostVoters(nodes []string) bool {
	voters, among := 0, 0
	for _, n := range w.newest.Voters() {
		voters++
		if slices.Contains(nodes, n.GetName()) {
			among++
		}
	}
	return 2*among > voters
}

// judgeStop follows how a stop begins and ends.
func (w *world) judgeStop(entry, asked *sitev1.Entry, before, after *state.View) {
	switch {
	case asked.GetStopSite() != nil && w.halt == nil:
		w.halt = &halt{deadline: asked.GetStopSite().GetDeadline().AsTime()}
		for _, h := range w.hosts {
			w.halt.boots = append(w.halt.boots, h.boots)
		}
	case w.halt != nil && before.Stop() != nil && after.Stop() == nil:
		w.violate(w.judgeStart(entry, after))
		w.halt = nil
	case w.halt != nil && before.Stop().GetStopped() == nil && after.Stop().GetStopped() != nil:
		for _, n := range after.Nodes() {
			if n.GetState() == skerryv1.NodeState_NODE_STATE_READY {
				w.violate(check.NothingRuns(n.GetName(), slices.Sorted(maps.Keys(w.hosts[w.hostByName(n.GetName())].machine.running))))
			}
		}
	}
}

// judgeStart: power, or people.
func (w *world) judgeStart(entry *sitev1.Entry, view *state.View) *check.Violation {
	voters, switched := 0, 0
	for _, n := range view.Nodes() {
		if n.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER {
			continue
		}
		voters++
		if at := w.hostByName(n.GetName()); w.hosts[at].boots != w.halt.boots[at] {
			switched++
		}
	}
	return check.StartsAgain(!entry.GetStartSite().GetPowerOn(), voters, switched)
}

// stopSite: somebody stops all that runs. At the end the machines are switched off
// and on, or somebody starts the site.
func (in *injector) stopSite(rng *rand.Rand) func() {
	w := in.world
	if w.stopping || w.evicting > 0 {
		return nil
	}
	w.stopping = true
	in.active++
	stopped := false
	id := fmt.Sprintf("stop-%d", w.kernel.now)
	w.ask(id, &sitev1.Entry{Change: &sitev1.Entry_StopSite{StopSite: &sitev1.StopSite{
		Reason: "the yard", Deadline: timestamppb.New(w.newest.Time().AsTime().Add(stopTime)),
	}}}, func(*sitev1.Outcome) { stopped = true })
	power := rng.IntN(2) == 0
	var back func()
	back = func() {
		switch {
		case !stopped:
			w.kernel.after(time.Second, back)
		case power && w.newest.Stop() != nil:
			in.switchOff(id, rng)
		default:
			in.startSite(id)
		}
	}
	return back
}

func (in *injector) startSite(id string) {
	w := in.world
	w.ask(id+"-start", &sitev1.Entry{Change: &sitev1.Entry_StartSite{StartSite: &sitev1.StartSite{}}}, func(*sitev1.Outcome) {
		w.stopping = false
		in.active--
	})
}

// switchOff all machines and on again: the site starts by itself, unless there are
// other voters than before.
func (in *injector) switchOff(id string, rng *rand.Rand) {
	w := in.world
	w.trace.note("site", "all machines are switched off")
	for _, h := range w.hosts {
		h.powerOff()
	}
	for _, h := range w.hosts {
		w.kernel.after(time.Second+time.Duration(rng.Int64N(int64(darkTime))), h.powerOn)
	}
	since := w.kernel.now + darkTime
	var wait func()
	wait = func() {
		at := w.coordinatorHost()
		switch {
		case w.newest.Stop() == nil:
			in.startSite(id) // whoever asks once more does no harm
			return
		case at < 0 || !w.inReach(at) || len(in.withoutPower()) > 0:
			since = w.kernel.now
		case w.kernel.now-since > powerStarts && w.sameVoters():
			w.violate(&check.Violation{Rule: check.Stopped, Message: fmt.Sprintf("all machines are on again, and it does not start in %v", powerStarts)})
			return
		case w.kernel.now-since > powerStarts:
			in.startSite(id)
			return
		}
		w.kernel.after(time.Second, wait)
	}
	wait()
}

// withoutPower are the hosts that other faults keep off.
func (in *injector) withoutPower() []string {
	var off []string
	for _, h := range in.world.hosts {
		if h.unpowered > 0 || h.held > 0 {
			off = append(off, h.name)
		}
	}
	return off
}

// sameVoters: the stop knows the machines of most of them.
func (w *world) sameVoters() bool {
	var known []string
	for _, run := range w.newest.Stop().GetRuns() {
		known = append(known, run.GetNode())
	}
	return w.mostVoters(known)
}
