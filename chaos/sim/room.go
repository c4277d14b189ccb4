package sim

import (
	"fmt"
	"time"

	"skerry.dev/chaos/check"
)

const (
	// roomEvery is how often a disk is looked at (agent/room.go).
	roomEvery = 100 * time.Millisecond
	// steppedDownAfter a disk went below the floor no replica writes there.
	steppedDownAfter = 3 * time.Second
)

// look whether the disk has room for a log: a replica steps down before writes
// fail, and comes back when there is room again (SAFETY, rule 8). What the ledger
// needs, the ballast has kept free.
func (p *process) look() {
	low := p.host.low > 0
	if p.world.has(NoFloor) || low == p.full {
		return
	}
	p.full = low
	if p.agent != nil && p.agent.session != nil {
		p.agent.session.changed()
	}
	if low {
		p.world.trace.note(p.host.name, "its disk is full, the replica steps down")
		p.stepDown()
		return
	}
	p.startReplica()
}

// stepDown hands the leadership over, if somebody takes it in time, and ends the
// replica in order.
func (p *process) stepDown() {
	v, end := p.voter, p.world.kernel.now+transferTime
	if v == nil {
		return
	}
	if v.lead != nil {
		v.replica.TransferLeadership()
		v.wake()
	}
	var wait func()
	wait = func() {
		if p.voter != v {
			return
		}
		if p.world.kernel.now < end && v.last.IsLeader && !v.gone() {
			p.after(tickEvery, wait)
			return
		}
		v.end()
		p.voter = nil
		if !p.full {
			p.startReplica() // there is room already
		}
	}
	wait()
}

// checkRoom: no replica writes where the disk is below the floor.
func (w *world) checkRoom() {
	for _, h := range w.hosts {
		if h.low > 0 && w.kernel.now-h.lowSince > steppedDownAfter && h.process != nil && h.process.voter != nil && h.process.ranFor() > steppedDownAfter {
			w.violate(&check.Violation{Rule: check.DiskFloor, Message: fmt.Sprintf("%s still runs a replica %v after its disk was full", h.name, w.kernel.now-h.lowSince)})
		}
	}
}

// ranFor is how long the process has run without standing still.
func (p *process) ranFor() time.Duration {
	if p.isPaused() {
		return 0
	}
	return p.world.kernel.now - max(p.began, p.woke)
}
