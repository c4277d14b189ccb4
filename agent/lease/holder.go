package lease

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/agent/guard"
	"skerry.dev/agent/reconcile"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	// renewals in the length of a lease.
	renewals = 3
	// askAgain is the pause after a request that was not granted.
	askAgain = 250 * time.Millisecond
	// maxStop of a lease is left for what is stopped to end by itself.
	maxStop = 8
)

// hold is one exclusive placement of this node.
type hold struct {
	project, name string
	lease, grace  time.Duration
	// machine: it is a virtual machine.
	machine bool
	// asked is when the last request was sent, from when the one that was granted.
	asked, from time.Duration
	// until the newest lease that was granted ends; 0 for none.
	until time.Duration
	// told is the lease that the guard knows of, and kills at.
	told, kill time.Duration
	// begun: it was started under a lease once.
	begun bool
	// over: its lease has ended, or nobody knows that it has not.
	over bool
	// why it has no lease, for people.
	why string
	// ended: the guard has ended it.
	ended bool
	// refused is why the guard does not take its lease over, for people, since when,
	// and until when it is not told again.
	refused      string
	since, again time.Duration
}

// Holder is what a node holds. It is pure: no clock, no I/O. Its times are those
// of one CLOCK_BOOTTIME.
type Holder struct {
	held map[string]*hold
	// begun on this node, in whatever run of the agent; those that are not among the
	// orders any more are forgotten.
	begun map[string]bool
	// decided: it is known what the guard held when this agent began.
	decided bool
	// trouble with the guard, for people; empty for none.
	trouble string
}

// NewHolder returns a holder; begun are the placements that once ran here under a
// lease.
func NewHolder(begun []string) *Holder {
	h := &Holder{held: map[string]*hold{}, begun: map[string]bool{}}
	for _, id := range begun {
		h.begun[id] = true
	}
	return h
}

// Want takes over the node's orders. It returns whether there is anything
// exclusive among them.
func (h *Holder) Want(placements []*skerryv1.Placement) bool {
	named := map[string]bool{}
	for _, p := range placements {
		lease := manifest.LeaseOf(p.GetSpec())
		if lease == 0 {
			continue
		}
		id := reconcile.InstanceID(p.GetProject(), p.GetName())
		named[id] = true
		if h.held[id] == nil {
			if p.GetMigration().GetIncoming() {
				delete(h.begun, id) // it was here before: the log lets it begin again
			}
			h.held[id] = &hold{project: p.GetProject(), name: p.GetName(), lease: lease, machine: p.GetSpec().GetVm() != nil, begun: h.begun[id]}
			h.held[id].over = h.decided && h.begun[id]
		}
		grace, _ := manifest.Duration(p.GetSpec().GetStopGrace()) // 0 when it cannot be read
		h.held[id].grace = grace
	}
	for id := range h.held {
		if !named[id] {
			delete(h.held, id)
		}
	}
	return len(named) > 0
}

// Decide what becomes of placements that ran here before this agent did: those
// that the guard still holds a lease of run on, all others are over. What the guard
// has found running it knows, even if this node's disk does not.
func (h *Holder) Decide(guarded []guard.Entry) {
	h.decided = true
	for _, g := range guarded {
		switch hold := h.held[g.ID]; {
		case hold == nil:
		case !g.Ended:
			hold.begun, hold.from, hold.until, hold.told, hold.kill = true, g.Until-hold.lease, g.Until, g.Until, g.Kill
		case g.Ran:
			hold.begun = true
		}
	}
	for _, hold := range h.held {
		if hold.begun && hold.until == 0 {
			hold.over = true
		}
	}
}

// Trouble tells that there is no guard, and why; empty when there is one.
func (h *Holder) Trouble(why string) { h.trouble = why }

// Ask names what to ask a lease for now, and after how long to ask again at the
// latest; 0 for when something changes.
func (h *Holder) Ask(now time.Duration) ([]*sitev1.LeaseAsk, time.Duration) {
	var asks []*sitev1.LeaseAsk
	var wake time.Duration
	for _, id := range slices.Sorted(maps.Keys(h.held)) {
		hold := h.held[id]
		if !h.asks(hold) {
			continue
		}
		due := hold.due()
		// Those that are due soon go along.
		if now < due && (len(asks) == 0 || now < due-hold.lease/(2*renewals)) {
			wake = sooner(wake, due-now)
			continue
		}
		hold.asked = now
		wake = sooner(wake, askAgain)
		asks = append(asks, &sitev1.LeaseAsk{Project: hold.project, Placement: hold.name, Lease: durationpb.New(hold.lease)})
	}
	return asks, wake
}

// asks: without a guard nothing new is asked for, but what is held is kept.
func (h *Holder) asks(hold *hold) bool {
	return h.decided && !hold.over && (h.trouble == "" || hold.until > 0)
}

// due is when to ask next.
func (hold *hold) due() time.Duration {
	if hold.asked == 0 {
		return 0
	}
	if hold.asked == hold.from {
		return hold.from + hold.lease/renewals
	}
	return hold.asked + askAgain
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// Answered takes in what came of a request: its leases count from when it was
// sent.
func (h *Holder) Answered(sent time.Duration, asks []*sitev1.LeaseAsk, answers []*sitev1.LeaseAnswer) {
	for i, answer := range answers[:min(len(answers), len(asks))] {
		hold := h.held[reconcile.InstanceID(asks[i].GetProject(), asks[i].GetPlacement())]
		switch {
		case hold == nil || hold.lease != asks[i].GetLease().AsDuration():
		case !answer.GetGranted():
			hold.why = answer.GetRefused()
		case sent > hold.from || hold.until == 0:
			hold.from, hold.until, hold.why = sent, sent+hold.lease, ""
		}
	}
}

// stop is when a placement is stopped unless its lease is prolonged, so that it
// can end by itself before it is killed.
func (hold *hold) stop() time.Duration { return hold.kill - min(hold.grace, hold.lease/maxStop) }

// Permits say what may run now, by instance, and after how long to ask again at
// the latest; 0 for when something changes. What has come to its end does not
// begin again.
func (h *Holder) Permits(now time.Duration) (map[string]reconcile.Permit, time.Duration) {
	permits := map[string]reconcile.Permit{}
	var wake time.Duration
	for id, hold := range h.held {
		if !hold.over && hold.kill > 0 && now >= hold.stop() {
			hold.end()
		}
		switch {
		case hold.over:
			permits[id] = reconcile.Permit{Over: true, Left: max(0, hold.kill-now)}
		case hold.kill == 0:
			permits[id] = reconcile.Permit{Unknown: !h.decided, Why: h.why(hold, now)}
		default:
			permits[id] = reconcile.Permit{Run: true}
			wake = sooner(wake, hold.stop()-now)
		}
	}
	return permits, wake
}

// end a lease that was not prolonged in time. What has not begun under it may get
// another one.
func (hold *hold) end() {
	if hold.begun {
		hold.over = true
		return
	}
	hold.until, hold.told, hold.kill, hold.asked, hold.from = 0, 0, 0, 0, 0
}

func (h *Holder) why(hold *hold, now time.Duration) string {
	if hold.until > now {
		return cmp.Or(h.trouble, hold.refused, "the guard of this machine has not taken it over yet")
	}
	return cmp.Or(h.trouble, hold.why, "the coordinator has not answered yet")
}

// Begin notes that something is about to be started, and until when that must
// have come to its end; false when it must not be. isNew: it was not noted
// before, and must be on disk before it starts.
func (h *Holder) Begin(id string, now time.Duration) (end time.Duration, isNew, may bool) {
	hold := h.held[id]
	if hold == nil || hold.over || hold.kill == 0 || now >= hold.stop() {
		return 0, false, false
	}
	isNew = !h.begun[id]
	h.begun[id], hold.begun = true, true
	return hold.kill, isNew, true
}

// unbegin what could not be noted: it was not started.
func (h *Holder) unbegin(id string) {
	delete(h.begun, id)
	if hold := h.held[id]; hold != nil { // the orders may have changed meanwhile
		hold.begun = false
	}
}

// Begun are the placements to remember, sorted: those among the orders.
func (h *Holder) Begun() []string {
	var ids []string
	for id := range h.begun {
		if h.held[id] != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Lease is what is known of a placement's lease, for people: how long it still
// lasts, and why it has none.
func (h *Holder) Lease(id string, now time.Duration) (left time.Duration, why string) {
	hold := h.held[id]
	switch {
	case hold == nil:
		return 0, ""
	case hold.over:
		return 0, "its lease has ended"
	case hold.until <= now:
		return 0, h.why(hold, now)
	default:
		return hold.until - now, ""
	}
}
