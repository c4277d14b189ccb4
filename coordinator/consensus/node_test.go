package consensus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/pebblelog"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter is the smallest machine: it remembers request IDs in order.
type counter struct {
	mu      sync.Mutex
	applied []string
	changes int
}

func (c *counter) Apply(index uint64, entry *sitev1.Entry) *sitev1.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applied = append(c.applied, entry.GetRequestId())
	return &sitev1.Outcome{Index: index}
}

func (c *counter) ApplyVoterChange(uint64, *sitev1.VoterChange) { c.changes++ }

func (c *counter) Hash() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return uint64(len(c.applied))
}

func (c *counter) Marshal() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.Marshal(c.applied)
}

func (c *counter) Restore(data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.Unmarshal(data, &c.applied)
}

func (c *counter) has(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.applied {
		if a == id {
			return true
		}
	}
	return false
}

// patience with a machine that does much else.
const patience = time.Minute

// group is a set of nodes that exchange messages in memory.
type group struct {
	mu    sync.Mutex
	nodes map[uint64]*member
	// handovers are counted by who hands the leadership over.
	handovers map[uint64]int
}

type member struct {
	node    *consensus.Node
	machine *counter
	cut     atomic.Bool
	stop    context.CancelFunc
	done    chan error
	log     *pebblelog.Log
	disk    *hanging
}

// hanging is a log whose disk does not answer while the gate is locked.
type hanging struct {
	*pebblelog.Log
	gate sync.RWMutex
}

func (h *hanging) Append(snapshot *raftpb.Snapshot, entries []*raftpb.Entry, hard *raftpb.HardState, sync bool) error {
	h.gate.RLock()
	defer h.gate.RUnlock()
	return h.Log.Append(snapshot, entries, hard, sync)
}

func newGroup() *group { return &group{nodes: map[uint64]*member{}, handovers: map[uint64]int{}} }

func (g *group) send(from uint64) func([]*raftpb.Message) {
	return func(messages []*raftpb.Message) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if m := g.nodes[from]; m == nil || m.cut.Load() {
			return
		}
		for _, message := range messages {
			to := g.nodes[message.GetTo()]
			if to == nil || to.cut.Load() {
				continue
			}
			if message.GetType() == raftpb.MsgTimeoutNow {
				g.handovers[from]++
			}
			to.node.Receive(message)
			if message.GetType() == raftpb.MsgSnap {
				go g.nodes[from].node.ReportSnapshot(context.Background(), message.GetTo(), true)
			}
		}
	}
}

func (g *group) add(t testing.TB, id uint64, dir string, bootstrap bool) *member {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	log, err := pebblelog.Open(vfs.Default, dir, logger)
	if err != nil {
		t.Fatal(err)
	}
	machine := &counter{}
	if bootstrap {
		if err := consensus.Bootstrap(log, id, machine); err != nil {
			t.Fatal(err)
		}
	}
	disk := &hanging{Log: log}
	replica, err := consensus.NewReplica(consensus.Config{ID: id, Log: disk, Machine: machine, Send: g.send(id), Logger: logger, SnapshotEvery: 64})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{node: consensus.NewNode(replica, env.NewSystem().Clock, logger), machine: machine, stop: stop, done: make(chan error, 1), log: log, disk: disk}
	g.mu.Lock()
	g.nodes[id] = m
	g.mu.Unlock()
	go func() { m.done <- m.node.Run(ctx) }()
	return m
}

func (g *group) end(t testing.TB, id uint64) {
	t.Helper()
	g.mu.Lock()
	m := g.nodes[id]
	delete(g.nodes, id)
	g.mu.Unlock()
	m.stop()
	if err := <-m.done; !errors.Is(err, context.Canceled) {
		t.Errorf("replica %d ended: %v", id, err)
	}
	if err := m.log.Close(); err != nil {
		t.Error(err)
	}
}

func (g *group) leader(t testing.TB) (uint64, *member) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		g.mu.Lock()
		for id, m := range g.nodes {
			if m.node.Status().Serving && !m.cut.Load() {
				g.mu.Unlock()
				return id, m
			}
		}
		g.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("there is no leader")
	return 0, nil
}

func propose(t testing.TB, m *member, id string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := m.node.Propose(ctx, &sitev1.Entry{RequestId: id, Change: &sitev1.Entry_AddImage{}})
	return err
}

// write by way of whoever leads: on a machine that does much else the leadership
// may move at any time.
func (g *group) write(t testing.TB, id string) {
	t.Helper()
	eventually(t, "the write is acknowledged", func() bool {
		_, leader := g.leader(t)
		return propose(t, leader, id) == nil
	})
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// grow makes a group of three voters, and returns their directories.
func grow(t testing.TB, g *group) map[uint64]string {
	t.Helper()
	dirs := map[uint64]string{1: t.TempDir(), 2: t.TempDir(), 3: t.TempDir()}
	g.add(t, 1, dirs[1], true)
	_, leader := g.leader(t)
	for id := uint64(2); id <= 3; id++ {
		g.add(t, id, dirs[id], false)
		for _, role := range []skerryv1.VoterRole{skerryv1.VoterRole_VOTER_ROLE_LEARNER, skerryv1.VoterRole_VOTER_ROLE_VOTER} {
			change := &sitev1.VoterChange{AddNode: fmt.Sprint(id), AddRaftId: id, Role: role}
			eventually(t, "the change of voters is taken in", func() bool {
				return leader.node.ChangeVoters(context.Background(), change) == nil
			})
			eventually(t, "the change of voters is done", func() bool {
				status := leader.node.Status()
				members := status.Voters
				if role == skerryv1.VoterRole_VOTER_ROLE_LEARNER {
					members = status.Learners
				}
				return len(members) > 0 && members[len(members)-1] == id
			})
		}
	}
	return dirs
}

func TestWritesSurviveTheLossOfTheLeader(t *testing.T) {
	g := newGroup()
	dirs := grow(t, g)
	for i := range 200 {
		g.write(t, fmt.Sprintf("a-%d", i))
	}
	id, leader := g.leader(t)
	leader.cut.Store(true)
	g.write(t, "after")
	_, next := g.leader(t)
	if !next.machine.has("a-199") || !next.machine.has("a-0") {
		t.Error("an acknowledged write is missing on the new leader")
	}
	g.end(t, id)
	back := g.add(t, id, dirs[id], false)
	eventually(t, "the old leader catches up", func() bool { return back.machine.has("after") && back.machine.has("a-0") })
	for id := range dirs {
		g.end(t, id)
	}
}

func TestReadIndexSeesWhatWasAcknowledged(t *testing.T) {
	g := newGroup()
	dirs := grow(t, g)
	id, _ := g.leader(t)
	follower := g.nodes[id%3+1]
	for i := range 20 {
		name := fmt.Sprintf("r-%d", i)
		g.write(t, name)
		eventually(t, "the follower has a read point", func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_, err := follower.node.ReadIndex(ctx)
			return err == nil
		})
		if !follower.machine.has(name) {
			t.Fatalf("the follower does not see %s after ReadIndex", name)
		}
	}
	for id := range dirs {
		g.end(t, id)
	}
}

func TestLeaderWithoutQuorumStopsServing(t *testing.T) {
	g := newGroup()
	dirs := grow(t, g)
	_, leader := g.leader(t)
	leader.cut.Store(true)
	err := propose(t, leader, "lost")
	if err == nil {
		t.Fatal("a write was acknowledged without a quorum")
	}
	eventually(t, "the leader steps down", func() bool { return !leader.node.Status().HasQuorum })
	for id := range dirs {
		g.end(t, id)
	}
}

// What it holds may be as old as its last process, or older.
func TestAReplicaThatHeardNobodySinceItBeganKnowsNoAge(t *testing.T) {
	g := newGroup()
	dirs := grow(t, g)
	for id := range dirs {
		g.end(t, id)
	}
	alone := g.add(t, 2, dirs[2], false)
	if got := alone.node.Status().SinceContact; got != consensus.NoContact {
		t.Errorf("what it holds is %s old, it says", got)
	}
	g.add(t, 1, dirs[1], false)
	eventually(t, "the two have a leader", func() bool { return alone.node.Status().HasQuorum })
	g.end(t, 1)
	eventually(t, "there is none any more", func() bool { return !alone.node.Status().HasQuorum })
	if got := alone.node.Status().SinceContact; got < 0 || got > patience {
		t.Errorf("what it holds is %s old, it says", got)
	}
	g.end(t, 2)
}

// The status that it published last would stand: whoever asks would be told that it
// coordinates, and who follows it would not look for the next one.
func TestAReplicaWhoseDiskHangsLeadsAndFollowsNobody(t *testing.T) {
	g := newGroup()
	dirs := grow(t, g)
	id, leader := g.leader(t)
	changed := leader.node.Changed()
	leader.disk.gate.Lock()
	if err := propose(t, leader, "in vain"); err == nil {
		t.Error("it acknowledged what is on no disk")
	}
	eventually(t, "it leads no more", func() bool {
		status := leader.node.Status()
		return !status.Serving && !status.IsLeader && !status.HasQuorum && status.Leader == 0 && leader.node.Stuck() > 0
	})
	<-changed
	g.write(t, "by another one")
	if next, _ := g.leader(t); next == id {
		t.Error("it leads again")
	}
	leader.disk.gate.Unlock()
	eventually(t, "it follows again", func() bool {
		return leader.node.Status().HasQuorum && leader.node.Stuck() == 0 && leader.machine.has("by another one")
	})
	for id := range dirs {
		g.end(t, id)
	}
}

// Between the two it looks as if it led.
func TestAReplicaWhoseDiskHangsTwiceLeadsNobody(t *testing.T) {
	g := newGroup()
	alone := g.add(t, 1, t.TempDir(), true)
	g.leader(t)
	alone.disk.gate.Lock()
	if err := propose(t, alone, "in vain"); err == nil {
		t.Error("it acknowledged what is on no disk")
	}
	leadsNot := func() bool { return !alone.node.Status().Serving }
	eventually(t, "it leads no more", leadsNot)
	alone.disk.gate.Unlock()
	alone.disk.gate.Lock() // one write is let through
	time.Sleep(3 * time.Second)
	if !leadsNot() || alone.node.Stuck() == 0 {
		t.Errorf("it says %+v", alone.node.Status())
	}
	alone.disk.gate.Unlock()
	eventually(t, "it leads again", func() bool { return alone.node.Status().Serving && alone.node.Stuck() == 0 })
	g.end(t, 1)
}

// The second is judged by what the state remembers of the first: it is the same, or of
// somebody else. The outcome of the first is not its own.
func TestRequestsWithOneIDFollowEachOther(t *testing.T) {
	g := newGroup()
	leader := g.add(t, 1, t.TempDir(), true)
	g.leader(t)
	leader.disk.gate.Lock()
	done := make(chan error)
	for range 3 {
		go func() { done <- propose(t, leader, "deploy-42") }()
	}
	time.Sleep(200 * time.Millisecond) // they are taken in
	leader.disk.gate.Unlock()
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	g.end(t, 1)
	if len(leader.machine.applied) != 3 {
		t.Errorf("the state saw %v", leader.machine.applied)
	}
}

func TestOrderlyStopHandsLeadershipOver(t *testing.T) {
	g := newGroup()
	dirs := grow(t, g)
	id, _ := g.leader(t)
	g.nodes[id].stop()
	eventually(t, "another one leads", func() bool {
		for other := range dirs {
			if other != id && g.nodes[other].node.Status().Serving {
				return true
			}
		}
		return false
	})
	g.mu.Lock()
	if g.handovers[id] == 0 {
		t.Error("it left the others to an election by timeout")
	}
	g.mu.Unlock()
	for id := range dirs {
		g.end(t, id)
	}
}

func BenchmarkPropose16(b *testing.B) {
	g := newGroup()
	g.add(b, 1, b.TempDir(), true)
	_, leader := g.leader(b)
	var next atomic.Int64
	b.ResetTimer()
	var work errgroup.Group
	for range 16 {
		work.Go(func() error {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return nil
				}
				if err := propose(b, leader, fmt.Sprint(n)); err != nil {
					return err
				}
			}
		})
	}
	if err := work.Wait(); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	g.end(b, 1)
}

func TestLeadershipGoesToWhoMayLead(t *testing.T) {
	g := newGroup()
	dirs := grow(t, g)
	for range 4 {
		id, leader := g.leader(t)
		to := (id+1)%3 + 1 // not always the first one by ID
		eventually(t, "the next one takes over", func() bool {
			_ = leader.node.TransferLeadership(t.Context(), to) // until it is known to be active
			return g.nodes[to].node.Status().Serving
		})
	}
	_, leader := g.leader(t)
	if err := leader.node.TransferLeadership(t.Context(), 99); err == nil {
		t.Error("the leadership went to somebody else")
	}
	for id := range dirs {
		g.end(t, id)
	}
}
