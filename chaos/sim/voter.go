package sim

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/consensus"
	grants "skerry.dev/coordinator/leases"
	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	tickEvery = consensus.TickEvery
	// fsyncTime and fsyncJitter are what one cycle of a replica costs.
	fsyncTime   = 200 * time.Microsecond
	fsyncJitter = 2 * time.Millisecond
	// snapshotEvery entries, far fewer than in production, so that snapshots
	// and compaction happen in every run.
	snapshotEvery = 400
	// mostEntries of a log, and mostState bytes of a state: neither grows with time.
	mostEntries, mostState = 4 * snapshotEvery, 4 << 20
	// readRetry is when an unanswered read point is asked for again.
	readRetry = 150 * time.Millisecond
)

// proposal by its request ID: the first is under way, others follow when it is done.
type proposal struct {
	entry *sitev1.Entry
	done  func(consensus.Completion)
}

// voter is the shell of one replica: what consensus.Node is in production,
// without goroutines.
type voter struct {
	process *process
	host    *host
	world   *world
	store   *state.Store
	replica *consensus.Replica
	// due: a cycle is scheduled.
	due     bool
	halted  bool
	waiting map[string][]proposal
	readID  uint64
	reads   map[uint64]func(index uint64)
	// ready reads wait until their index is applied.
	ready []readyRead
	last  consensus.Status
	// heard is when each node was last heard on its stream, whatever the term.
	heard map[string]time.Duration
	// lead is the coordinator's part while this replica serves.
	lead *coordinator
	// granted are the leases of the last term in which it led.
	granted *grants.Table
	// keeper of secrets.
	keeper *secrets.Keeper
	// trusted is the newest bundle that was verified.
	trusted *certs.Bundle
	// clocks are the wall clocks of the nodes as they last told them.
	clocks map[string]reading
}

type readyRead struct {
	index uint64
	done  func(index uint64)
}

// newVoter starts the replica whose log is on the host.
func newVoter(p *process) *voter {
	v := &voter{
		process: p, host: p.host, world: p.world, store: state.New(),
		waiting: map[string][]proposal{}, reads: map[uint64]func(uint64){},
		heard: map[string]time.Duration{}, clocks: map[string]reading{},
		// Another range after each start, so that late answers to questions
		// of the process before are not taken for new ones.
		readID: uint64(p.host.starts) << 32,
	}
	v.keeper = secrets.New(p.host.name, p.host.recipient, chance{p.rng})
	v.store.OnLeaf(v.host.leaves.take)
	var err error
	v.replica, err = consensus.NewReplica(consensus.Config{
		ID: p.host.raft.id, Log: &p.host.raft, Machine: v.machine(), Kept: v.host.leaves, Send: v.send,
		Logger: p.world.logger.With("node", p.host.name), SnapshotEvery: snapshotEvery,
	})
	if err != nil {
		v.halt(err)
		return v
	}
	disk, kept := v.host.leaves, v.store.Frontier()
	v.world.violate(v.world.leaves.Restarted(v.host.name, func(n uint64) bool { return disk.now[n] }, disk.first, kept.Size()))
	v.last = v.replica.Brief()
	v.tick()
	return v
}

func (v *voter) tick() {
	if v.gone() {
		return
	}
	v.replica.Tick(v.host.elapsed(), 0)
	v.wake()
	if v.lead != nil && v.replica.Standstills().Due && !v.world.has(Cling) {
		v.lead.giveWay()
	}
	v.process.later(time.Duration(float64(tickEvery)/v.host.rate), v.tick)
}

// gone tells whether the process died or the replica halted.
func (v *voter) gone() bool { return v.process.dead || v.halted }

// wake schedules a cycle; all that comes until then shares it.
func (v *voter) wake() {
	if v.due {
		return
	}
	v.due = true
	delay := fsyncTime + time.Duration(v.world.hostRng.Int64N(int64(fsyncJitter)))
	v.process.later(delay, func() {
		v.due = false
		if !v.gone() {
			v.cycle()
		}
	})
}

func (v *voter) cycle() {
	for v.replica.HasReady() && !v.gone() {
		effects, err := v.replica.Process()
		for _, c := range effects.Completions {
			v.complete(c)
		}
		for _, r := range effects.Reads {
			if done := v.reads[r.ID]; done != nil {
				delete(v.reads, r.ID)
				v.ready = append(v.ready, readyRead{index: r.Index, done: done})
			}
		}
		if err != nil {
			v.halt(err)
			return
		}
		v.finishReads()
		v.observe()
	}
}

// halt ends the replica, and with it the process.
func (v *voter) halt(err error) {
	v.halted = true
	switch {
	case errors.Is(err, errDisk):
		// What its predecessor may have promised is gone: it runs no more.
		v.host.raft.halted = v.host.raft.id
	case !errors.Is(err, errPower):
		v.world.violate(&check.Violation{Rule: check.NoHalt, Message: v.host.name + ": " + err.Error()})
	}
	v.process.later(0, func() {
		if v.process.dead {
			return
		}
		v.host.kill("process dies: "+err.Error(), false)
		v.host.start(time.Second)
	})
}

// observe looks for a new role.
func (v *voter) observe() {
	now := v.replica.Brief()
	before := v.last
	v.last = now
	w := v.world
	w.trace.fold('a', uint64(v.host.index), now.Term, now.Applied, now.Leader)
	if now.IsLeader && (!before.IsLeader || before.Term != now.Term) {
		w.stats.Elections++
		whole := v.replica.Status()
		w.trace.note(v.host.name, "leads term %d, voters %v learners %v", now.Term, whole.Voters, whole.Learners)
		w.violate(w.leaders.Leads(v.host.name, now.Term))
	}
	if v.lead != nil && (!now.Serving || now.Term != v.lead.term) {
		v.lead.stop()
		v.lead = nil
	}
	if now.Serving && v.lead == nil {
		v.lead = newCoordinator(v, now.Term)
	}
	if v.lead != nil && (now.Applied != before.Applied || !before.Serving) {
		v.lead.changed()
	}
	if agent := v.process.agent; agent != nil && agent.session != nil && (now.Term != before.Term || now.Leader != before.Leader) {
		v.process.after(0, agent.session.leadChanged)
	}
}

// send gives messages to the network.
func (v *voter) send(messages []*raftpb.Message) {
	for _, m := range messages {
		if v.world.has(YesMan) && m.GetType() == raftpb.MsgVoteResp {
			m = proto.CloneOf(m)
			m.Reject = nil
		}
		to := v.process.hostOfReplica(m.GetTo())
		if to < 0 || to == v.host.index || !v.maySend(to) {
			v.world.trace.fold('u', m.GetTo())
			continue
		}
		v.world.buffer = appendTo(v.world.buffer[:0], m)
		v.world.net.datagram(v.host.index, to, digest(v.world.buffer), func() { v.world.hosts[to].process.receive(v.process, m) })
		if !v.world.net.reachable(v.host.index, to) {
			v.unreachable(m.GetTo())
		}
		if m.GetType() == raftpb.MsgSnap {
			v.reportSnapshot(m.GetTo(), v.world.net.open(v.host.index, to))
		}
	}
}

// unreachable tells the replica, after a while, that a connection broke.
func (v *voter) unreachable(id uint64) {
	v.process.later(100*time.Millisecond, func() {
		if !v.gone() {
			v.replica.ReportUnreachable(id)
		}
	})
}

// reportSnapshot tells the leader how the sending of a snapshot went.
func (v *voter) reportSnapshot(id uint64, ok bool) {
	v.process.later(20*time.Millisecond, func() {
		if !v.gone() {
			v.replica.ReportSnapshot(id, ok)
			v.wake()
		}
	})
}

// receive takes in a message of another replica, as it is: replicas change nothing in
// messages.
func (p *process) receive(from *process, m *raftpb.Message) {
	if p == nil || p.voter == nil || p.voter.gone() {
		return
	}
	peer, ok := p.admit(from.leaf())
	if _, back := from.admit(p.leaf()); !ok || !back {
		return
	}
	if m.GetTo() != p.host.raft.id || !p.isReplica(peer, m.GetFrom()) {
		return // for a replica that was here before, or from one that is not of the site
	}
	p.voter.replica.Step(m, p.host.elapsed())
	p.voter.wake()
}

// isReplica is coordinator.Voter.isReplica.
func (p *process) isReplica(peer certs.Peer, id uint64) bool {
	view := p.voter.store.View()
	if view.IsRevoked(peer.KeyFingerprint) {
		return false
	}
	if node := view.Node(peer.Name); node.GetRaftId() == id && bytes.Equal(node.GetKeyFingerprint(), peer.KeyFingerprint) {
		return true
	}
	return slices.ContainsFunc(p.peers(), func(known *sitev1.Peer) bool {
		key := known.GetKeyFingerprint()
		return known.GetName() == peer.Name && known.GetRaftId() == id && (len(key) == 0 || bytes.Equal(key, peer.KeyFingerprint))
	})
}

// maySend tells whether a replica may still be told anything (Voter.dialReplica):
// not when its node was evicted.
func (v *voter) maySend(to int) bool {
	view := v.store.View()
	node, other := view.Node(v.world.hosts[to].name), v.world.hosts[to].process
	if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return false
	}
	return other.leaf() == nil || !view.IsRevoked(v.world.fingerprint(other.leaf()))
}

// propose commits an entry; done is called once, unless the process dies.
func (v *voter) propose(entry *sitev1.Entry, done func(consensus.Completion)) {
	id := entry.GetRequestId()
	if len(v.waiting[id]) == 0 {
		entry := proto.CloneOf(entry)
		made := v.stamp()
		if v.last.Serving {
			v.world.violate(v.world.time.Made(made.Time, simulationStart.Add(v.world.kernel.now), v.knowsMost()))
		}
		stamp := made.Message()
		entry.Time, entry.Reference, entry.TimeEra = stamp.GetTime(), stamp.GetReference(), stamp.GetEra()
		if err := v.replica.Propose(entry); err != nil {
			done(consensus.Completion{RequestID: id, Err: err})
			return
		}
	}
	v.waiting[id] = append(v.waiting[id], proposal{entry, done})
	v.wake()
}

func (v *voter) complete(c consensus.Completion) {
	waiting := v.waiting[c.RequestID]
	delete(v.waiting, c.RequestID)
	for i, p := range waiting {
		if i == 0 {
			p.done(c)
			continue
		}
		v.propose(p.entry, p.done)
	}
}

// read calls done when the state holds everything acknowledged before; never,
// when that cannot be found out.
func (v *voter) read(done func(index uint64)) {
	answered := false
	var ask func(tries int)
	ask = func(tries int) {
		if answered || v.gone() || tries == 0 {
			return
		}
		v.readID++
		id := v.readID
		v.reads[id] = func(index uint64) {
			if !answered {
				answered = true
				done(index)
			}
		}
		v.replica.ReadIndex(id)
		v.wake()
		v.process.later(readRetry, func() { delete(v.reads, id); ask(tries - 1) })
	}
	ask(6)
}

func (v *voter) finishReads() {
	if len(v.ready) == 0 {
		return
	}
	applied := v.replica.Brief().Applied
	v.ready = slices.DeleteFunc(v.ready, func(r readyRead) bool {
		if r.index > applied {
			return false
		}
		r.done(applied)
		return true
	})
}

// end forgets a replica that the site does not want any more.
func (v *voter) end() {
	v.halted = true
	if v.lead != nil {
		v.lead.stop()
		v.lead = nil
	}
}
