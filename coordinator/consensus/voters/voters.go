// Package voters decides who votes on the site's log. It is pure.
//
// The site has one voter up to two nodes, three up to six, five from seven on,
// spread over zones. A node becomes a learner first and a voter when it has
// caught up. A voter that is confirmed lost is replaced in one joint change; up
// to two caught-up learners stand by for that. One change at a time, and the
// set is never shrunk below what it is because nodes are lost.
package voters

import (
	"cmp"
	"slices"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxStandby learners wait to replace a voter.
const maxStandby = 2

// Member is a node as far as voting is concerned.
type Member struct {
	Name, Zone string
	MayVote    bool
	// Ready: it is alive. A node that is neither ready nor lost is in doubt:
	// nothing is done about it.
	Ready, Lost bool
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
	// Self is the coordinator, which never removes itself.
	Self string
	// NextRaftID is free.
	NextRaftID uint64
}

// Target is how many voters a site of so many nodes should have.
func Target(nodes int) int {
	switch {
	case nodes >= 7:
		return 5
	case nodes >= 3:
		return 3
	default:
		return 1
	}
}

// Next returns the next change, nil when there is nothing to do now.
func Next(in Input) *sitev1.VoterChange {
	s := sort(in)
	if change := s.replaceDead(); change != nil {
		return change
	}
	if change := s.dropDeadLearner(); change != nil {
		return change
	}
	if len(s.voters) < s.target {
		if learner := s.best(s.learners, func(m Member) bool { return m.Ready && m.CaughtUp && m.MayVote }); learner != nil {
			return add(*learner, skerryv1.VoterRole_VOTER_ROLE_VOTER)
		}
	}
	return s.addLearner()
}

// set is the input, sorted out.
type set struct {
	Input
	target                        int
	voters, learners, dead, spare []Member
}

func sort(in Input) set {
	s := set{Input: in}
	nodes := 0
	for _, m := range in.Members {
		if !m.Removed {
			nodes++
		}
		gone := m.Lost || m.Halted || m.Removed
		switch {
		case m.Role == skerryv1.VoterRole_VOTER_ROLE_VOTER:
			s.voters = append(s.voters, m)
			if gone && m.Name != in.Self {
				s.dead = append(s.dead, m)
			}
		case m.Role == skerryv1.VoterRole_VOTER_ROLE_LEARNER:
			s.learners = append(s.learners, m)
		case m.MayVote && m.Ready && !m.Removed:
			s.spare = append(s.spare, m)
		}
	}
	s.target = Target(nodes)
	return s
}

// replaceDead puts a caught-up learner in the place of a dead voter, one joint
// change. A removed voter without successor goes alone when enough stay.
func (s set) replaceDead() *sitev1.VoterChange {
	if len(s.dead) == 0 {
		return nil
	}
	out := s.dead[0]
	learner := s.best(s.learners, func(m Member) bool { return m.Ready && m.CaughtUp && m.MayVote && !m.Halted })
	if learner != nil {
		change := add(*learner, skerryv1.VoterRole_VOTER_ROLE_VOTER)
		change.RemoveNode, change.RemoveRaftId = out.Name, out.RaftID
		return change
	}
	for _, m := range s.dead {
		if m.Removed && len(s.voters) > s.target {
			return &sitev1.VoterChange{RemoveNode: m.Name, RemoveRaftId: m.RaftID}
		}
	}
	return nil
}

func (s set) dropDeadLearner() *sitev1.VoterChange {
	for _, m := range s.learners {
		if m.Lost || m.Halted || m.Removed {
			return &sitev1.VoterChange{RemoveNode: m.Name, RemoveRaftId: m.RaftID}
		}
	}
	return nil
}

// addLearner brings in a new learner when one is missing: to fill the set, to
// replace the dead, or to stand by.
func (s set) addLearner() *sitev1.VoterChange {
	missing := max(0, s.target-len(s.voters)) + len(s.dead)
	if s.target > 1 {
		missing += maxStandby
	}
	if len(s.learners) >= missing {
		return nil
	}
	node := s.best(s.spare, func(Member) bool { return true })
	if node == nil {
		return nil
	}
	node.RaftID = s.NextRaftID
	return add(*node, skerryv1.VoterRole_VOTER_ROLE_LEARNER)
}

// best of those that are fit: from the zone with the fewest live replicas,
// then by name.
func (s set) best(among []Member, fit func(Member) bool) *Member {
	perZone := map[string]int{}
	for _, m := range s.voters {
		if !m.Lost && !m.Halted && !m.Removed {
			perZone[m.Zone]++
		}
	}
	var candidates []Member
	for _, m := range among {
		if fit(m) {
			candidates = append(candidates, m)
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	best := slices.MinFunc(candidates, func(a, b Member) int {
		return cmp.Or(cmp.Compare(perZone[a.Zone], perZone[b.Zone]), cmp.Compare(a.Name, b.Name))
	})
	return &best
}

func add(m Member, role skerryv1.VoterRole) *sitev1.VoterChange {
	return &sitev1.VoterChange{AddNode: m.Name, AddRaftId: m.RaftID, Role: role}
}
