package consensus_test

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// grown is a pool of three voters that 1 leads.
func grown(t *testing.T) *pool {
	p := newPool(t)
	p.open(1, true)
	if err := p.replicas[1].Campaign(); err != nil {
		t.Fatal(err)
	}
	p.settle()
	for id := uint64(2); id <= 3; id++ {
		p.open(id, false)
		p.change(&sitev1.VoterChange{AddRaftId: id, Role: skerryv1.VoterRole_VOTER_ROLE_LEARNER})
		p.change(&sitev1.VoterChange{AddRaftId: id, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	}
	p.run(3)
	return p
}

// stutter for two seconds: the replicas named get one tick of five.
func (p *pool) stutter(ids ...uint64) {
	p.t.Helper()
	for turn := range 40 {
		p.still = nil
		if turn%5 != 4 {
			p.still = ids
		}
		p.run(1)
	}
	p.still = nil
}

func TestALeaderThatStandsStillAgainAndAgainGivesWayToWhoDoesNot(t *testing.T) {
	for _, test := range []struct {
		name  string
		still []uint64 // besides the leader
		may   []uint64
		cut   uint64
		to    uint64
	}{
		{"to any", nil, []uint64{2, 3}, 0, 2},
		{"not to who may not", nil, []uint64{3}, 0, 3},
		{"not to who stands still itself", []uint64{2}, []uint64{2, 3}, 0, 3},
		{"to nobody when all stand still", []uint64{2, 3}, []uint64{2, 3}, 0, 0},
		{"to nobody when nobody may", nil, nil, 0, 0},
		{"not to who does not answer", nil, []uint64{2, 3}, 2, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := grown(t)
			if got := p.replicas[1].Standstills(); got.Due || got.Count > 0 {
				t.Fatalf("a leader in order sees %+v", got)
			}
			p.cut[test.cut] = true
			p.stutter(append(test.still, 1)...)
			if got := p.replicas[1].Status().Standstills; !got.Due || got.Lost < time.Second {
				t.Fatalf("a leader that was stopped sees %+v", got)
			}
			if to, tried := p.replicas[1].GiveWay(test.may); to != test.to || !tried {
				t.Errorf("it gives way to %d, want %d", to, test.to)
			}
			if p.replicas[1].Standstills().Due {
				t.Error("it is due at once again")
			}
			p.settle()
			leads := max(test.to, 1)
			if status := p.replicas[leads].Status(); !status.Serving {
				t.Errorf("replica %d does not lead: %+v", leads, status)
			}
		})
	}
}

// Reads are confirmed by the same heartbeats.
func TestReadsAreConfirmedByHeartbeatsThatBearMore(t *testing.T) {
	p := grown(t)
	p.stutter(2, 3)
	p.replicas[1].ReadIndex(7)
	var reads []consensus.Read
	p.read = func(r consensus.Read) { reads = append(reads, r) }
	p.settle()
	if len(reads) != 1 || reads[0].ID != 7 {
		t.Errorf("confirmed are %+v", reads)
	}
}

// Who takes office while it stands still has not heard yet who else answers: it tries to
// give way as soon as it has, and not before.
func TestWhoTakesOfficeWhileItStandsStillGivesWaySoon(t *testing.T) {
	p := grown(t)
	p.stutter(2)
	if p.replicas[2].Standstills().Due {
		t.Error("one that follows has an office to give")
	}
	p.replicas[1].TransferLeadership(2)
	p.settle()
	if to, tried := p.replicas[2].GiveWay([]uint64{1, 3}); tried {
		t.Errorf("it tried at once, with %d", to)
	}
	p.run(5)
	if to, tried := p.replicas[2].GiveWay([]uint64{1, 3}); to != 1 || !tried {
		t.Errorf("after a quarter of a second it gives way to %d", to)
	}
}

// A leader that stops, or hands over for another reason, spares who stands still.
func TestAnOrderlyStopSparesWhoStandsStill(t *testing.T) {
	p := grown(t)
	p.stutter(2)
	p.replicas[1].TransferLeadership()
	p.settle()
	if !p.replicas[3].Status().IsLeader {
		t.Error("the office did not come to the one that is in order")
	}
	p = grown(t)
	p.stutter(2, 3)
	if !p.replicas[1].TransferLeadership() {
		t.Error("it stays where all stand still")
	}
}

// A change of voters forgets nobody who stays.
func TestAChangeOfVotersForgetsNotWhoAnswers(t *testing.T) {
	p := grown(t)
	p.stutter(1)
	p.open(4, false)
	p.change(&sitev1.VoterChange{AddRaftId: 4, Role: skerryv1.VoterRole_VOTER_ROLE_LEARNER})
	if to, _ := p.replicas[1].GiveWay([]uint64{2, 3}); to != 2 {
		t.Errorf("it gives way to %d", to)
	}
}

// A heartbeat's echo of another length is that of nobody, or of raft alone.
func TestAnEchoThatIsTooShortIsNoMark(t *testing.T) {
	p := grown(t)
	for n := range 9 {
		kind := raftpb.MsgHeartbeatResp
		from, to, term := uint64(2), uint64(1), p.replicas[1].Status().Term
		if n > 0 && n < 8 {
			term-- // raft itself reads eight bytes of those of its term
		}
		p.replicas[1].Step(&raftpb.Message{Type: &kind, From: &from, To: &to, Term: &term, Context: make([]byte, n)}, p.now)
	}
	p.run(1)
	if !p.replicas[1].Status().Serving {
		t.Error("it serves no more")
	}
}
