package sim

import (
	"cmp"
	"slices"
	"time"

	"skerry.dev/agent/guard"
	"skerry.dev/agent/lease"
	"skerry.dev/agent/reconcile"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// leaseNode is one machine of a leaseRun: its clock, its guard, its agent, and what
// runs on it.
type leaseNode struct {
	run         *leaseRun
	name        string
	fixed, wall time.Duration
	rate        float64
	boots       int
	// cut and off count the faults that cut it off, or hold its power.
	cut, off int
	guard    guard.Core
	// running is the instance that really runs; empty for none.
	running string

	// What follows is the agent's: life counts its processes, pauses the faults that
	// let it stand still, due what it does after.
	life, pauses int
	down         bool
	due          []func()
	holder       *lease.Holder
	asking, busy bool
	permits      map[string]reconcile.Permit
	// inAsk is what befalls it after the next request.
	inAsk func()
	// ready is when all is prepared that an instance needs to begin.
	ready map[string]time.Duration

	// On its disk: the newest orders, the term they came from, and what has begun.
	orders []*skerryv1.Placement
	term   uint64
	begun  []string
}

func newLeaseNode(r *leaseRun, index int) *leaseNode {
	n := &leaseNode{run: r, name: hostName(index), ready: map[string]time.Duration{}, rate: 1 + (r.rng.Float64()-0.5)/100}
	n.boot()
	return n
}

// boot the machine, which forgets what it ran and guarded.
func (n *leaseNode) boot() {
	n.boots++
	n.fixed, n.guard, n.running = n.run.between(time.Second, time.Hour), guard.Core{}, ""
	n.startAgent()
	n.watch(n.boots)
}

func (n *leaseNode) startAgent() {
	n.life++
	n.due, n.asking, n.busy, n.permits = nil, false, false, nil
	n.holder = lease.NewHolder(n.begun)
	n.holder.Want(n.orders)
	n.holder.Decide(n.guard.Entries())
}

// now is CLOCK_BOOTTIME.
func (n *leaseNode) now() time.Duration {
	if n.run.bug == LeaseWallClock {
		return n.run.kernel.now + n.wall
	}
	return n.fixed + time.Duration(float64(n.run.kernel.now)*n.rate)
}

// later does something in this process of the agent, when it does not stand still.
func (n *leaseNode) later(d time.Duration, do func()) {
	life, boots := n.life, n.boots
	n.run.kernel.after(d, func() {
		switch {
		case life != n.life || boots != n.boots || n.down || n.off > 0:
		case n.pauses > 0:
			n.due = append(n.due, do)
		default:
			do()
		}
	})
}

// watch is the guard's own process.
func (n *leaseNode) watch(boots int) {
	if boots != n.boots || n.off > 0 {
		return
	}
	wake := n.step()
	if wake == 0 || wake > 100*time.Millisecond {
		wake = 100 * time.Millisecond
	}
	n.run.kernel.after(wake, func() { n.watch(boots) })
}

// step of the guard: it ends what is due.
func (n *leaseNode) step() time.Duration {
	now := n.now()
	kill, _, wake := n.guard.Step(now)
	for _, id := range kill {
		found := n.running == id
		if found && n.run.bug != ForgetfulGuard {
			n.running = ""
		}
		n.guard.Killed(id, found, true, now)
	}
	return wake
}

// look is what the agent does again and again: follow orders, ask, tell the guard,
// start and stop.
func (n *leaseNode) look() {
	n.later(n.run.between(50*time.Millisecond, 150*time.Millisecond), n.look)
	n.followOrders()
	n.ask()
	n.tell()
	n.act()
}

// followOrders of the coordinator, but of none that is older than one heard before.
func (n *leaseNode) followOrders() {
	lead := n.run.heardFrom(n)
	if lead == nil || lead.term < n.term {
		return
	}
	placements := lead.view().PlacementsOn(n.name)
	n.later(n.run.between(time.Millisecond, 30*time.Millisecond), func() {
		if n.cut > 0 || lead.term < n.term {
			return
		}
		n.term, n.orders = lead.term, placements
		n.holder.Want(placements)
	})
}

// ask for leases, as lease.Keeper does.
func (n *leaseNode) ask() {
	if n.asking {
		return
	}
	sent := n.now()
	asks, _ := n.holder.Ask(sent)
	if len(asks) == 0 {
		return
	}
	n.asking = true
	answered := false
	n.later(askTime, func() {
		if !answered {
			answered, n.asking = true, false
		}
	})
	lead := n.run.heardFrom(n)
	if lead == nil {
		return
	}
	if then := n.inAsk; then != nil {
		n.inAsk = nil
		n.run.kernel.after(n.run.between(0, 400*time.Millisecond), then)
	}
	life := n.life
	lead.renew(n, asks, func(response *sitev1.RenewLeasesResponse) {
		if life != n.life {
			return
		}
		n.later(n.run.between(0, 200*time.Millisecond), func() {
			if answered || n.cut > 0 {
				return
			}
			answered, n.asking = true, false
			n.take(sent, asks, response)
		})
	})
}

func (n *leaseNode) take(sent time.Duration, asks []*sitev1.LeaseAsk, response *sitev1.RenewLeasesResponse) {
	if response.GetOrder().GetTerm() < n.term {
		return
	}
	if n.run.bug == LeaseFromReceipt {
		sent = n.now()
	}
	n.holder.Answered(sent, asks, response.GetAnswers())
	n.tell()
}

// tell the guard what it does not know, as lease.Keeper does.
func (n *leaseNode) tell() {
	n.holder.Knows(n.guard.Entries())
	arms := n.holder.Untold(n.now())
	took := func(arm lease.Arm, kill time.Duration, err error) { n.holder.Took(arm, kill, err, n.now()) }
	if n.run.bug != OneForAll {
		lease.Tell(arms, n.arm, took)
		return
	}
	slices.SortFunc(arms, func(a, b lease.Arm) int { return cmp.Compare(a.ID, b.ID) })
	for _, arm := range arms {
		kill, err := n.arm(arm)
		if err != nil {
			return
		}
		took(arm, kill, nil)
	}
}

func (n *leaseNode) arm(arm lease.Arm) (time.Duration, error) {
	if !arm.Anew || n.run.bug == OneForAll || n.run.bug == EndedForEver {
		return n.guard.Arm(arm.ID, arm.ID, arm.Until, arm.Lease, n.now())
	}
	n.guard.Thaw(arm.ID)
	n.step()
	return n.guard.Anew(arm.ID, arm.ID, arm.Until, arm.Lease, n.now())
}

// isReady: what an instance needs to begin is there at once, or takes its time, or,
// of one workload, never comes.
func (n *leaseNode) isReady(p *skerryv1.Placement, id string) bool {
	at, known := n.ready[id]
	if !known {
		at = n.run.kernel.now
		if n.run.rng.IntN(4) == 0 {
			at += n.run.between(0, 12*time.Second)
		}
		n.ready[id] = at
	}
	return p.GetWorkload() == lone && n.run.kernel.now >= at
}

// act on what may run now.
func (n *leaseNode) act() {
	permits, _ := n.holder.Permits(n.now())
	n.permits = permits
	if permit := permits[n.running]; n.running != "" && permit != (reconcile.Permit{Run: true}) && !permit.Unknown {
		n.running = ""
	}
	for _, p := range n.orders {
		id := reconcile.InstanceID(p.GetProject(), p.GetName())
		stop := p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN
		switch {
		case stop && n.running == id:
			n.running = ""
		case stop:
			n.run.tellGone(n, p)
		case n.isReady(p, id) && permits[id].Run && n.running == "" && !n.busy:
			n.begin(id)
		}
	}
	for _, e := range slices.Clone(n.guard.Entries()) {
		if e.ID != n.running && !slices.ContainsFunc(n.orders, func(p *skerryv1.Placement) bool { return reconcile.InstanceID(p.GetProject(), p.GetName()) == e.ID }) {
			n.guard.Drop(e.ID)
		}
	}
}

// begin to start an instance; what is frozen by then does not come up.
func (n *leaseNode) begin(id string) {
	_, isNew, may := n.holder.Begin(id, n.now())
	if !may {
		return
	}
	if isNew {
		n.begun = n.holder.Begun()
	}
	n.busy = true
	boots := n.boots
	n.run.kernel.after(n.run.between(10*time.Millisecond, 800*time.Millisecond), func() {
		if boots != n.boots || n.off > 0 || slices.ContainsFunc(n.guard.Entries(), func(e guard.Entry) bool { return e.ID == id && e.Ended }) {
			return
		}
		n.running = id
		n.run.starts++
		n.run.judge()
	})
	n.later(time.Second, func() { n.busy = false })
}
