package sim

import (
	"time"

	"skerry.dev/agent/lease"
	"skerry.dev/agent/runtime"
	"skerry.dev/coordinator/dispatcher"
	grants "skerry.dev/coordinator/leases"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/manifest"
)

// askTime bounds one request for leases (agent/lease).
const askTime = 800 * time.Millisecond

// leases of a node: the shell around lease.Holder, as lease.Keeper is in
// production.
type leases struct {
	*node
	holder *lease.Holder
	// alarm counts the timers that were set; only the last one counts.
	alarm  int
	asking bool
}

func newLeases(a *node) *leases {
	l := &leases{node: a, holder: lease.NewHolder(a.ledger.Begun())}
	l.holder.Want(a.ledger.Current().GetPlacements())
	l.holder.Decide(a.host.guard.core.Entries())
	return l
}

// now is CLOCK_BOOTTIME.
func (l *leases) now() time.Duration { return l.host.leaseClock() }

func (l *leases) want() {
	l.holder.Want(l.ledger.Current().GetPlacements())
	l.ask()
}

func (l *leases) permit() time.Duration {
	l.holder.Knows(l.host.guard.entries())
	permits, wake := l.holder.Permits(l.now())
	l.core.Permit(permits)
	return wake
}

// begin is asked before an instance is started; false when it must not be.
func (l *leases) begin(id string) bool {
	placement := l.isExclusive(id)
	if !placement {
		return true
	}
	_, isNew, may := l.holder.Begin(id, l.now())
	return may && (!isNew || l.ledger.KeepBegun(l.holder.Begun()) == nil)
}

func (l *leases) isExclusive(id string) bool {
	for _, p := range l.ledger.Current().GetPlacements() {
		if p.GetProject()+"."+p.GetName() == id {
			return manifest.LeaseOf(p.GetSpec()) > 0
		}
	}
	return false
}

// drop what the guard holds though nothing of it is left.
func (l *leases) drop(instances []runtime.Instance) {
	present := map[string]bool{}
	for _, i := range instances {
		present[i.ID] = true
	}
	for _, e := range l.host.guard.entries() {
		if !present[e.ID] && !l.isExclusive(e.ID) {
			l.host.guard.core.Drop(e.ID)
		}
	}
}

// ask the coordinator for what is due.
func (l *leases) ask() {
	if l.asking || l.dead {
		return
	}
	sent := l.now()
	asks, wake := l.holder.Ask(sent)
	if wake > 0 {
		l.alarm++
		alarm := l.alarm
		l.after(wake, func() {
			if alarm == l.alarm {
				l.ask()
			}
		})
	}
	if len(asks) == 0 {
		return
	}
	l.asking = true
	finish := func() { l.asking = false; l.ask() }
	answered := false
	once := func(response *sitev1.RenewLeasesResponse) {
		if answered || l.dead {
			return
		}
		answered = true
		l.answered(sent, asks, response)
		finish()
	}
	l.after(askTime, func() { once(nil) })
	to := l.coordinator()
	if to < 0 {
		return
	}
	l.world.net.datagram(l.host.index, to, 'l', func() {
		l.world.hosts[to].process.renewLeases(l.process, asks, func(response *sitev1.RenewLeasesResponse) {
			l.world.net.datagram(to, l.host.index, 'm', func() { once(response) })
		})
	})
	if then := l.host.inAsk; then != nil {
		l.host.inAsk = nil
		then()
	}
}

// answered takes in leases, and tells the guard of them.
func (l *leases) answered(sent time.Duration, asks []*sitev1.LeaseAsk, response *sitev1.RenewLeasesResponse) {
	if response == nil || response.GetOrder().GetTerm() < l.ledger.Current().GetOrder().GetTerm() {
		return
	}
	if l.world.has(LeaseFromReceipt) {
		sent = l.now()
	}
	l.holder.Answered(sent, asks, response.GetAnswers())
	l.holder.Knows(l.host.guard.core.Entries())
	lease.Tell(l.holder.Untold(l.now()), l.host.guard.arm, func(arm lease.Arm, kill time.Duration, err error) {
		l.holder.Took(arm, kill, err, l.now())
	})
	l.step()
}

// leaseTable is coordinator.Voter.leaseTable.
func (v *voter) leaseTable(term uint64) *grants.Table {
	if v.granted == nil || v.granted.Term() != term {
		began := v.host.elapsed()
		if v.world.has(EagerCoordinator) {
			began -= time.Hour
		}
		v.granted = grants.New(term, began)
	}
	return v.granted
}

// renewLeases is coordinator.leaseService.
func (p *process) renewLeases(from *process, asks []*sitev1.LeaseAsk, reply func(*sitev1.RenewLeasesResponse)) {
	if !p.connects(from) || p.voter == nil || p.voter.lead == nil {
		return
	}
	v, received := p.voter, p.host.elapsed()
	table := v.leaseTable(v.lead.term)
	answer := func(uint64) {
		peer, ok := p.admit(from.leaf())
		if !ok || v.lead == nil || v.lead.term != table.Term() || dispatcher.CheckNode(v.store.View(), peer) != nil {
			return
		}
		reply(table.Answer(v.store.View(), from.host.name, asks, received, p.host.elapsed()))
	}
	v.read(answer)
}
