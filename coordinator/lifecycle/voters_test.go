package lifecycle

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// roles of all nodes that have one: `n1 votes, n2 learns`.
func (s *site) roles() string {
	var roles []string
	for _, n := range s.view().Nodes() {
		switch n.GetVoter() {
		case skerryv1.VoterRole_VOTER_ROLE_VOTER:
			roles = append(roles, n.GetName()+" votes")
		case skerryv1.VoterRole_VOTER_ROLE_LEARNER:
			roles = append(roles, n.GetName()+" learns")
		}
	}
	return strings.Join(roles, ", ")
}

func (s *site) wantRoles(want string) {
	s.t.Helper()
	if got := s.roles(); got != want {
		s.t.Errorf("%s, want %s", got, want)
	}
}

func TestASiteFindsItsVoters(t *testing.T) {
	s := newSite(t, 4)
	s.pass(900 * time.Millisecond)
	s.wantRoles("n1 votes") // nobody is up for long enough
	s.pass(400 * time.Millisecond)
	s.wantRoles("n1 votes, n2 votes, n3 votes, n4 learns")
}

func TestALostVoterIsReplacedInOneChange(t *testing.T) {
	s := newSite(t, 4)
	s.pass(2 * time.Second)
	s.nodes["n2"].off = true
	s.changes = nil
	s.pass(1300 * time.Millisecond)
	s.wantRoles("n1 votes, n2 votes, n3 votes, n4 learns")
	s.pass(time.Second)
	s.wantRoles("n1 votes, n3 votes, n4 votes")
	if len(s.changes) != 1 || s.changes[0].GetTime() == nil {
		t.Errorf("it took the changes %v, want one with a stamp", s.changes)
	}
	s.nodes["n2"].off = false
	s.pass(900 * time.Millisecond)
	s.wantRoles("n1 votes, n3 votes, n4 votes") // it must stay for a while
	s.pass(500 * time.Millisecond)
	s.wantRoles("n1 votes, n2 learns, n3 votes, n4 votes")
}

func TestAHaltedReplicaIsReplacedEvenOnTheSameNode(t *testing.T) {
	s := newSite(t, 3)
	s.pass(2 * time.Second)
	before := s.view().Node("n2").GetRaftId()
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
		Node: "n2",
		Facts: &sitev1.NodeFacts{
			Capacity:   s.view().Node("n2").GetCapacity(),
			Conditions: []*skerryv1.Condition{{Type: haltedCondition, Message: "its log is damaged"}},
		},
	}}}}})
	s.pass(5 * time.Second)
	if got := s.view().Node("n2").GetRaftId(); got != before {
		t.Errorf("replica %d was given up though it is active", before)
	}
	s.nodes["n2"].mute = true
	s.pass(1900 * time.Millisecond)
	if got := s.view().Node("n2").GetRaftId(); got != before {
		t.Errorf("replica %d was given up too early", before)
	}
	s.pass(200 * time.Millisecond)
	s.nodes["n2"].mute = false // the new replica
	s.pass(time.Second)
	s.wantRoles("n1 votes, n2 votes, n3 votes")
	if got := s.view().Node("n2").GetRaftId(); got <= before {
		t.Errorf("n2 has replica %d after %d", got, before)
	}
}

// TestAChangeIsNotAskedForTwice drives Step without carrying changes out.
func TestAChangeIsNotAskedForTwice(t *testing.T) {
	s := newSite(t, 3)
	var asked []string
	for ; s.now < 4*time.Second; s.now += 10 * time.Millisecond {
		s.core.Heard("n1", s.now)
		s.core.Heard("n3", s.now)
		if s.now < 2*time.Second {
			s.core.Heard("n2", s.now)
		} else {
			s.core.GossipFailed("n2", s.now)
		}
		if c := s.core.Step(s.now, s.wall(), s.view(), Progress{}).Change; c != nil {
			asked = append(asked, fmt.Sprintf("%dms: %s becomes replica %d", s.now.Milliseconds(), c.GetAddNode(), c.GetAddRaftId()))
		}
	}
	want := []string{"1010ms: n2 becomes replica 2", "2010ms: n3 becomes replica 3", "3010ms: n3 becomes replica 3"}
	if got := strings.Join(asked, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("it asks for\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestALearnerThatHoldsNothingYetDoesNotVote(t *testing.T) {
	s := newSite(t, 3)
	s.index += 100
	s.lag = s.index / 2
	s.pass(3 * time.Second)
	s.wantRoles("n1 votes, n2 learns, n3 learns")
	s.lag = s.index / 10
	s.pass(time.Second)
	s.wantRoles("n1 votes, n2 votes, n3 votes")
}

func TestALearnerThatIsBehindDoesNotVote(t *testing.T) {
	s := newSite(t, 3)
	s.lag = Defaults("n1").VoterLag + 1
	s.index += 8 * s.lag
	s.pass(3 * time.Second)
	s.wantRoles("n1 votes, n2 learns, n3 learns")
	s.lag--
	s.pass(time.Second)
	s.wantRoles("n1 votes, n2 votes, n3 votes")
}

func TestACoordinatorThatWasRemovedHandsOver(t *testing.T) {
	s := newSite(t, 3)
	s.pass(3 * time.Second)
	s.wantRoles("n1 votes, n2 votes, n3 votes")
	if effects := s.step(); effects.HandOver != nil {
		t.Fatalf("it hands over to %v for no reason", effects.HandOver)
	}
	s.delete("Node", "n1")
	effects := s.step()
	var want []uint64
	for _, name := range []string{"n2", "n3"} {
		want = append(want, s.view().Node(name).GetRaftId())
	}
	if !slices.Equal(effects.HandOver, want) {
		t.Errorf("it hands over to %v, want one of %v", effects.HandOver, want)
	}
	s.pass(10 * time.Second)
	s.wantRoles("n1 votes, n2 votes, n3 votes") // not to n1 alone, which leaves
	s.core = New(Defaults("n2"), s.now)
	s.pass(3 * time.Second)
	s.wantRoles("n2 votes")
}

func TestAWitnessVotesRunsNothingAndHandsOver(t *testing.T) {
	s := newSite(t, 2)
	s.joinAs("n3", "z3", func(token *sitev1.CreateToken) { token.Witness = true })
	s.newTerm()
	s.applyWorkload(testWorkload("web", 3))
	s.pass(5 * time.Second)
	s.wantRoles("n1 votes, n2 votes, n3 votes")
	for _, p := range s.view().Placements() {
		if p.GetNode() == "n3" {
			t.Errorf("%s is on the witness", p.GetName())
		}
	}
	s.core = New(Defaults("n3"), s.now) // it was elected
	s.pass(2 * time.Second)
	if got := s.step().HandOver; len(got) != 2 || slices.Contains(got, s.view().Node("n3").GetRaftId()) {
		t.Errorf("it hands over to %v", got)
	}
}
