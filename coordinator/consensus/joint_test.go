package consensus_test

import (
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/pebblelog"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// told is a machine that remembers which replicas it was told to be removed.
type told struct {
	counter
	removed []uint64
}

func (m *told) ApplyVoterChange(_ uint64, change *sitev1.VoterChange) {
	if id := change.GetRemoveRaftId(); id != 0 {
		m.removed = append(m.removed, id)
	}
}

// pool moves replicas by hand, without clocks and goroutines.
type pool struct {
	t        *testing.T
	disk     *vfs.MemFS
	replicas map[uint64]*consensus.Replica
	machines map[uint64]*told
	logs     map[uint64]*pebblelog.Log
	// cut replicas neither send nor hear.
	cut    map[uint64]bool
	flying []*raftpb.Message
	now    time.Duration
	// still replicas get no ticks, and take nothing in: it waits.
	still   []uint64
	waiting []*raftpb.Message
	// read is told of each read point, if it is set.
	read func(consensus.Read)
}

func newPool(t *testing.T) *pool {
	p := &pool{
		t: t, disk: vfs.NewMem(), replicas: map[uint64]*consensus.Replica{}, machines: map[uint64]*told{},
		logs: map[uint64]*pebblelog.Log{}, cut: map[uint64]bool{},
	}
	t.Cleanup(func() {
		for _, log := range p.logs {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

func (p *pool) open(id uint64, first bool) {
	p.t.Helper()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	log, err := pebblelog.Open(p.disk, string(rune('a'+id)), logger)
	if err != nil {
		p.t.Fatal(err)
	}
	machine := &told{}
	if first {
		if err := consensus.Bootstrap(log, id, machine); err != nil {
			p.t.Fatal(err)
		}
	}
	p.logs[id], p.machines[id] = log, machine
	p.replicas[id], err = consensus.NewReplica(consensus.Config{
		ID: id, Log: log, Machine: machine, Logger: logger, SnapshotEvery: 64,
		Send: func(messages []*raftpb.Message) { p.flying = append(p.flying, messages...) },
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pool) reopen(id uint64) {
	p.t.Helper()
	if err := p.logs[id].Close(); err != nil {
		p.t.Fatal(err)
	}
	p.open(id, false)
}

// run lets everything happen for so many ticks.
func (p *pool) run(ticks int) {
	p.t.Helper()
	for range ticks {
		p.now += consensus.TickEvery
		for _, id := range []uint64{1, 2, 3, 4} {
			if p.replicas[id] != nil && !slices.Contains(p.still, id) {
				p.replicas[id].Tick(p.now, 0)
			}
		}
		p.settle()
	}
}

func (p *pool) settle() {
	p.t.Helper()
	for busy := true; busy; {
		busy = false
		for _, id := range []uint64{1, 2, 3, 4} {
			for r := p.replicas[id]; r != nil && r.HasReady(); busy = true {
				effects, err := r.Process()
				if err != nil {
					p.t.Fatal(err)
				}
				for _, read := range effects.Reads {
					if p.read != nil {
						p.read(read)
					}
				}
			}
		}
		flying := append(p.waiting, p.flying...)
		p.waiting, p.flying = nil, nil
		for _, m := range flying {
			if slices.Contains(p.still, m.GetTo()) {
				p.waiting = append(p.waiting, m)
				continue
			}
			if to := p.replicas[m.GetTo()]; to != nil && !p.cut[m.GetFrom()] && !p.cut[m.GetTo()] {
				to.Step(m, p.now)
				busy = true
			}
		}
	}
}

func (p *pool) change(change *sitev1.VoterChange) {
	p.t.Helper()
	if err := p.replicas[1].ChangeVoters(change); err != nil {
		p.t.Fatal(err)
	}
	p.run(3)
}

// four replicas, of which 1 leads, 1 to 3 vote and 4 learns.
func (p *pool) four() {
	p.t.Helper()
	p.open(1, true)
	if err := p.replicas[1].Campaign(); err != nil {
		p.t.Fatal(err)
	}
	p.settle()
	for id := uint64(2); id <= 4; id++ {
		p.open(id, false)
		p.change(&sitev1.VoterChange{AddRaftId: id, Role: skerryv1.VoterRole_VOTER_ROLE_LEARNER})
		if id < 4 {
			p.change(&sitev1.VoterChange{AddRaftId: id, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
		}
	}
}

func TestAReplacedVoterIsNotDismissedBeforeTheOldVotersAreNotAskedAnyMore(t *testing.T) {
	p := newPool(t)
	p.four()
	// 1 and 3 let the change begin; of the new voters 1, 2 and 4 only 1 is there
	// to let it end.
	p.cut[2], p.cut[4] = true, true
	p.change(&sitev1.VoterChange{AddRaftId: 4, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER, RemoveRaftId: 3})
	if status := p.replicas[1].Status(); !status.Joint || !slices.Contains(status.Voters, 4) {
		t.Fatal("the change has not begun")
	}
	for _, id := range []uint64{1, 3} {
		if len(p.machines[id].removed) > 0 {
			t.Errorf("replica %d lets 3 go, but if 1 was lost now, 2 could not be elected without it", id)
		}
	}
	// The change is not forgotten in between.
	p.reopen(1)
	p.cut[2], p.cut[4] = false, false
	p.run(60)
	if p.replicas[1].Status().Joint {
		t.Error("the change has not ended")
	}
	for _, id := range []uint64{1, 2, 4} {
		if !slices.Equal(p.machines[id].removed, []uint64{3}) {
			t.Errorf("replica %d was told of the removal of %v, want of 3", id, p.machines[id].removed)
		}
	}
}

// The leader that began a change is cut off, and the one that the change removes is
// elected and ends it. It can commit nothing any more, and as long as it led nobody
// else could.
func TestALeaderThatIsRemovedLeadsNoMore(t *testing.T) {
	p := newPool(t)
	p.four()
	p.cut[2], p.cut[4] = true, true
	p.change(&sitev1.VoterChange{AddRaftId: 4, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER, RemoveRaftId: 3})
	if status := p.replicas[3].Status(); !status.Joint {
		t.Fatal("the change has not begun")
	}
	p.cut[1], p.cut[2], p.cut[4] = true, false, false // 3 alone knows of the change, and is elected
	p.run(200)
	lead := p.replicas[2].Status().Leader
	if lead != 2 && lead != 4 {
		t.Fatalf("replica %d leads, of the voters %v", lead, p.replicas[2].Status().Voters)
	}
	if err := p.replicas[lead].Propose(&sitev1.Entry{RequestId: "r"}); err != nil {
		t.Fatal(err)
	}
	applied := p.replicas[lead].Status().Applied
	p.run(3)
	if p.replicas[lead].Status().Applied == applied {
		t.Error("nothing is committed")
	}
}

// A voter that hears nobody campaigns, and knows of no leader then. One that learns never
// does, and must not be taken for one that is in reach of the coordinator.
func TestWhoDoesNotVoteForgetsALeaderThatItDoesNotHear(t *testing.T) {
	p := newPool(t)
	p.four()
	p.run(60)
	if status := p.replicas[4].Status(); !status.HasQuorum || status.Leader != 1 {
		t.Fatalf("while the leader is there, who learns knows of %d, quorum %t", status.Leader, status.HasQuorum)
	}
	p.cut[1], p.cut[2], p.cut[3] = true, true, true
	p.run(15)
	if status := p.replicas[4].Status(); !status.HasQuorum {
		t.Error("its leader is forgotten before a voter would forget it")
	}
	p.run(10)
	for id, replica := range p.replicas {
		if status := replica.Status(); status.HasQuorum || status.Leader != 0 {
			t.Errorf("replica %d says that %d leads, quorum %t", id, status.Leader, status.HasQuorum)
		}
	}
	p.cut[1], p.cut[2], p.cut[3] = false, false, false
	p.run(30)
	if status := p.replicas[4].Status(); !status.HasQuorum || status.Leader == 0 {
		t.Errorf("when there is a leader again, who learns knows of %d, quorum %t", status.Leader, status.HasQuorum)
	}
}
