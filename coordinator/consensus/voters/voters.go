// Package voters decides who votes on the site's log. It is pure.
//
// The site has one voter up to two nodes, three up to six, five from seven on,
// spread over zones. A node becomes a learner first and a voter when it has
// caught up. A voter that is confirmed lost is replaced in one joint change; up
// to two caught-up learners stand by for that. One change at a time, each
// leaves a majority of live voters, and the set is never shrunk because nodes
// are lost: only an operator who removes nodes makes it smaller.
//
// Witnesses are a minority of the voters, and of those who stand by: somebody must
// coordinate, and hold the CAs and the secrets.
package voters

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxStandby learners wait to replace a voter.
const maxStandby = 2

// Member is a node as far as voting is concerned.
type Member struct {
	Name, Zone string
	MayVote    bool
	// Ready: it is alive, for a while already. A node that is neither ready nor
	// lost is in doubt: nothing is done about it.
	Ready, Lost bool
	// Witness: it votes and does nothing else.
	Witness bool
	// Removed from the site by an operator.
	Removed bool
	// Halted: the node lives, but its replica does not any more.
	Halted bool
	Role   skerryv1.VoterRole
	RaftID uint64
	// CaughtUp: its replica's log is nearly as long as the coordinator's.
	CaughtUp bool
}

// Input of a decision. Members are sorted by name.
type Input struct {
	Members []Member
	// Self is the coordinator, which never removes itself. One that was removed
	// from the site changes nothing any more: the set would shrink to itself.
	Self string
	// NextRaftID is free.
	NextRaftID uint64
}

// Counted nodes are as many as make a difference.
const Counted = 7

// Target is how many voters a site of so many nodes should have.
func Target(nodes int) int {
	switch {
	case nodes >= Counted:
		return 5
	case nodes >= 3:
		return 3
	default:
		return 1
	}
}

// Next returns the next change, nil when there is nothing to do now.
func Next(in Input) *sitev1.VoterChange {
	s := sortOut(in)
	if s.selfLeaves() {
		return nil // it hands over first: whoever follows decides
	}
	for _, rule := range []func() *sitev1.VoterChange{
		s.dropDead, s.replaceDead, s.readmit, s.promote, s.shrink, s.spreadVoters,
		s.dropUseless, s.addLearner, s.spreadLearners, s.dropLost,
	} {
		if change := rule(); change != nil {
			return change
		}
	}
	return nil
}

// dropDead lets a dead voter go without successor when there are too many.
func (s *set) dropDead() *sitev1.VoterChange {
	if len(s.dead) == 0 || len(s.voters) <= s.target || !s.majority(-1) {
		return nil
	}
	return remove(s.dead[0])
}

// replaceDead puts a caught-up learner in the place of a dead voter, one joint
// change.
func (s *set) replaceDead() *sitev1.VoterChange {
	learner := best(s.fit, s.perZone(s.voters))
	if len(s.dead) == 0 || learner == nil {
		return nil
	}
	return inPlaceOf(s.dead[0], add(*learner, skerryv1.VoterRole_VOTER_ROLE_VOTER))
}

// readmit gives a node whose replica has halted a new one, when there is
// nobody else: the old one goes in the same change.
func (s *set) readmit() *sitev1.VoterChange {
	if len(s.spare) > 0 || len(s.live(s.learners)) > 0 || !s.majority(-1) {
		return nil
	}
	for _, m := range s.dead {
		if m.Halted && m.Ready && m.MayVote && !m.Removed {
			return inPlaceOf(m, s.newLearner(m))
		}
	}
	return nil
}

// promote a learner when voters are missing. An even number of voters bears
// no more losses than one less, so there must be a next one to follow.
func (s *set) promote() *sitev1.VoterChange {
	odd := len(s.voters)%2 == 1
	if len(s.voters) >= s.target || (odd && len(s.fit) < 2) {
		return nil
	}
	learner := best(s.fit, s.perZone(s.voters))
	if learner == nil {
		return nil
	}
	return add(*learner, skerryv1.VoterRole_VOTER_ROLE_VOTER)
}

// shrink the set when an operator has made the site smaller.
func (s *set) shrink() *sitev1.VoterChange {
	if len(s.voters) <= s.target || !s.allReady() {
		return nil
	}
	others := s.others()
	if witnesses := only(others, true); len(witnesses) > s.witnesses() {
		others = witnesses
	}
	out := worst(others, s.perZone(s.voters))
	if out == nil {
		return nil
	}
	return remove(*out)
}

// spreadVoters swaps a voter of a crowded zone for a learner of an emptier one.
func (s *set) spreadVoters() *sitev1.VoterChange {
	perZone := s.perZone(s.voters)
	in, out := best(s.fit, perZone), worst(s.others(), perZone)
	if in == nil || out == nil || perZone[out.Zone]-perZone[in.Zone] < 2 || !s.allReady() {
		return nil
	}
	return inPlaceOf(*out, add(*in, skerryv1.VoterRole_VOTER_ROLE_VOTER))
}

// dropUseless learners, which will never vote.
func (s *set) dropUseless() *sitev1.VoterChange {
	tooMany := len(only(s.live(s.voters), true))+len(only(s.live(s.learners), true)) > s.witnesses()
	for _, m := range s.learners {
		if m.Halted || m.Removed || m.Witness && tooMany {
			return remove(m)
		}
	}
	return nil
}

// wanted is how many learners there should be: to fill the set, to replace the
// dead, and to stand by.
func (s *set) wanted() int {
	wanted := max(0, s.target-len(s.voters)) + len(s.dead)
	if s.target > 1 {
		wanted += maxStandby
	}
	return wanted
}

// addLearner brings in a learner when one is missing.
func (s *set) addLearner() *sitev1.VoterChange {
	node := best(s.spare, s.perZone(s.voters, s.learners))
	if node == nil || len(s.live(s.learners)) >= s.wanted() {
		return nil
	}
	return s.newLearner(*node)
}

// spreadLearners swaps a learner of a crowded zone for a node of an emptier
// one, so that the right one stands by.
func (s *set) spreadLearners() *sitev1.VoterChange {
	perZone := s.perZone(s.voters, s.learners)
	in, out := best(s.spare, perZone), worst(s.live(s.learners), perZone)
	if in == nil || out == nil || perZone[out.Zone]-perZone[in.Zone] < 2 {
		return nil
	}
	return inPlaceOf(*out, s.newLearner(*in))
}

// dropLost learners once others stand by in their place.
func (s *set) dropLost() *sitev1.VoterChange {
	if len(s.live(s.learners)) < s.wanted() {
		return nil
	}
	for _, m := range s.learners {
		if m.Lost {
			return remove(m)
		}
	}
	return nil
}

func (s *set) newLearner(m Member) *sitev1.VoterChange {
	m.RaftID = s.NextRaftID
	return add(m, skerryv1.VoterRole_VOTER_ROLE_LEARNER)
}

func add(m Member, role skerryv1.VoterRole) *sitev1.VoterChange {
	return &sitev1.VoterChange{AddNode: m.Name, AddRaftId: m.RaftID, Role: role}
}

func remove(m Member) *sitev1.VoterChange {
	return &sitev1.VoterChange{RemoveNode: m.Name, RemoveRaftId: m.RaftID}
}

func inPlaceOf(out Member, change *sitev1.VoterChange) *sitev1.VoterChange {
	change.RemoveNode, change.RemoveRaftId = out.Name, out.RaftID
	return change
}
