package sim

import (
	"errors"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// coreHost runs one replica at a time. It writes in no time, now and then after
// a while, so that what came meanwhile shares the write.
type coreHost struct {
	core  *core
	index int
	// rate of its clock, near 1.
	rate float64
	// id of its replica, and the log of that; 0 for none.
	id   uint64
	disk *coreDisk
	// replica is nil while the process is down; held counts the faults that keep it
	// down, paused those that let it stand still.
	replica      *consensus.Replica
	machine      *coreMachine
	held, paused int
	// life of its process; what an earlier one had begun does not happen.
	life uint64
	last consensus.Status
	// slow: it is in the middle of a write.
	slow    bool
	due     []func()
	waiting map[string][]proposal
	reads   map[uint64]func(uint64)
	readID  uint64
	ready   []readyRead
	// strange counts how often its replica was not of the group when it was looked at.
	strange int
}

// later does something if the process still lives then.
func (h *coreHost) later(d time.Duration, do func()) {
	life := h.life
	h.core.kernel.after(d, func() {
		if h.life == life && h.replica != nil {
			h.awake(do)
		}
	})
}

// awake does something now, or when the process goes on.
func (h *coreHost) awake(do func()) {
	if h.paused > 0 {
		h.due = append(h.due, do)
		return
	}
	do()
}

// start the process, if nothing keeps it down and its log can be trusted.
func (h *coreHost) start() {
	if h.replica != nil || h.held > 0 || h.id == 0 || h.disk.refused {
		return
	}
	if h.disk.flipped && !h.core.has(BelieveFlips) {
		h.disk.refused = true
		h.core.trace.note(h.name(), "the log of %d is not what was written: it runs no more", h.id)
		return
	}
	h.life++
	h.machine = &coreMachine{host: h}
	h.waiting, h.reads, h.ready = map[string][]proposal{}, map[uint64]func(uint64){}, nil
	h.readID, h.slow, h.due = h.life<<32, false, nil
	replica, err := consensus.NewReplica(consensus.Config{
		ID: h.id, Log: h.disk, Machine: h.machine, Send: h.send, Logger: h.core.logger(), SnapshotEvery: snapshotEvery,
	})
	if err != nil {
		h.core.violate(&check.Violation{Rule: check.NoHalt, Message: h.name() + ": " + err.Error()})
		return
	}
	h.replica, h.last = replica, replica.Status()
	h.later(h.tick(), h.onTick)
}

func (h *coreHost) name() string        { return hostName(h.index) }
func (h *coreHost) tick() time.Duration { return time.Duration(float64(tickEvery) / h.rate) }

// elapsed is the host's own monotonic clock.
func (h *coreHost) elapsed() time.Duration {
	return time.Duration(float64(h.core.kernel.now) * h.rate)
}

func (h *coreHost) onTick() {
	h.replica.Tick(h.elapsed(), 0)
	h.cycle()
	if h.replica != nil {
		h.later(h.tick(), h.onTick)
	}
}

// cycle lets the replica write, send and apply, now or when a slow write is over.
func (h *coreHost) cycle() {
	if h.slow || h.replica == nil || !h.replica.HasReady() {
		return
	}
	if h.core.hostRng.IntN(16) == 0 {
		h.slow = true
		h.later(fsyncTime+time.Duration(h.core.hostRng.Int64N(int64(5*time.Millisecond))), func() {
			h.slow = false
			h.process()
		})
		return
	}
	h.process()
}

func (h *coreHost) process() {
	for h.replica != nil && h.replica.HasReady() {
		effects, err := h.replica.Process()
		for _, completion := range effects.Completions {
			h.complete(completion)
		}
		for _, read := range effects.Reads {
			if done := h.reads[read.ID]; done != nil {
				delete(h.reads, read.ID)
				h.ready = append(h.ready, readyRead{index: read.Index, done: done})
			}
		}
		if err != nil {
			h.halt(err)
			return
		}
		h.observe()
	}
}

func (h *coreHost) complete(c consensus.Completion) {
	waiting := h.waiting[c.RequestID]
	delete(h.waiting, c.RequestID)
	for i, p := range waiting {
		if i == 0 {
			p.done(c)
			continue
		}
		h.take(p)
	}
}

// observe looks for a new role, and answers reads.
func (h *coreHost) observe() {
	c, before := h.core, h.last
	h.last = h.replica.Status()
	now := &h.last
	c.trace.fold('a', uint64(h.index), now.Term, now.Applied, now.Leader)
	if now.IsLeader && (!before.IsLeader || before.Term != now.Term) {
		c.stats.Elections++
		c.trace.note(h.name(), "%d leads term %d, voters %v", h.id, now.Term, now.Voters)
		c.violate(c.leaders.Leads(h.name(), now.Term))
	}
	if now.Applied > c.conf.Applied {
		c.conf = *now
	}
	rest := h.ready[:0]
	for _, read := range h.ready {
		if read.index > now.Applied {
			rest = append(rest, read)
			continue
		}
		read.done(now.Applied)
	}
	h.ready = rest
}

// halt ends the process after an error: the power went in the middle of a write,
// or something is wrong.
func (h *coreHost) halt(err error) {
	if !errors.Is(err, errPower) {
		h.core.violate(&check.Violation{Rule: check.NoHalt, Message: h.name() + ": " + err.Error()})
	}
	h.kill()
	h.core.kernel.after(time.Second, h.start)
}

// kill ends the process; what was not synced is lost, or the first part of it
// stays.
func (h *coreHost) kill() {
	if h.replica == nil {
		return
	}
	h.replica = nil
	h.life++
	h.disk.crash()
}

// send gives messages to the network. Replicas change nothing in them.
func (h *coreHost) send(messages []*raftpb.Message) {
	for _, m := range messages {
		if h.core.has(YesMan) && m.GetType() == raftpb.MsgVoteResp {
			m.Reject = nil
		}
		to := h.core.hostOf(m.GetTo())
		if to == nil || to == h {
			continue
		}
		what := uint64(m.GetType())<<56 ^ m.GetTerm()<<40 ^ m.GetIndex()<<8 ^ m.GetCommit() ^ uint64(len(m.GetEntries()))
		id := m.GetTo()
		h.core.net.datagram(h.index, to.index, what, func() { to.receive(id, m) })
		if m.GetType() == raftpb.MsgSnap {
			ok := h.core.net.open(h.index, to.index)
			h.later(20*time.Millisecond, func() { h.replica.ReportSnapshot(id, ok); h.cycle() })
		} else if !h.core.net.reachable(h.index, to.index) {
			h.later(100*time.Millisecond, func() { h.replica.ReportUnreachable(id) })
		}
	}
}

func (h *coreHost) receive(id uint64, m *raftpb.Message) {
	if h.replica == nil || h.id != id {
		return
	}
	life := h.life
	h.awake(func() {
		if h.life == life {
			h.replica.Step(m, h.elapsed())
			h.cycle()
		}
	})
}

// propose an entry; done is called once, unless the process dies.
func (h *coreHost) propose(entry *sitev1.Entry, done func(consensus.Completion)) {
	h.take(proposal{entry, done})
	h.cycle()
}

func (h *coreHost) take(p proposal) {
	id := p.entry.GetRequestId()
	if len(h.waiting[id]) == 0 {
		if err := h.replica.Propose(p.entry); err != nil {
			p.done(consensus.Completion{RequestID: id, Err: err})
			return
		}
	}
	h.waiting[id] = append(h.waiting[id], p)
}

// read calls done when what was acknowledged before is applied here, unless raft
// drops the question.
func (h *coreHost) read(done func(index uint64)) {
	if h.core.has(StaleReads) {
		done(h.last.Applied)
		return
	}
	h.readID++
	h.reads[h.readID] = done
	id := h.readID
	h.replica.ReadIndex(id)
	h.later(readRetry, func() { delete(h.reads, id) })
	h.cycle()
}
