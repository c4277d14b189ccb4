package voters

import (
	"cmp"
	"slices"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// set is the input, sorted out.
type set struct {
	Input
	target int
	// dead are among the voters, fit for promotion among the learners. spare
	// nodes could become learners.
	voters, dead, learners, fit, spare []Member
}

func sortOut(in Input) *set {
	s := &set{Input: in}
	nodes := 0
	for _, m := range in.Members {
		if !m.Removed {
			nodes++
		}
		switch {
		case m.Role == skerryv1.VoterRole_VOTER_ROLE_VOTER:
			s.voters = append(s.voters, m)
			if m.gone() && m.Name != in.Self {
				s.dead = append(s.dead, m)
			}
		case m.Role == skerryv1.VoterRole_VOTER_ROLE_LEARNER:
			s.learners = append(s.learners, m)
			if m.Ready && m.CaughtUp && m.MayVote && !m.gone() {
				s.fit = append(s.fit, m)
			}
		case m.MayVote && m.Ready && !m.Removed:
			s.spare = append(s.spare, m)
		}
	}
	s.target = Target(nodes)
	s.boundWitnesses()
	return s
}

// boundWitnesses passes over those that would be too many.
func (s *set) boundWitnesses() {
	voting := len(only(s.live(s.voters), true))
	if voting >= s.witnesses() {
		s.fit = only(s.fit, false)
	}
	if voting+len(only(s.live(s.learners), true)) >= s.witnesses() {
		s.spare = only(s.spare, false)
	}
}

// selfLeaves: the coordinator is one only until another takes over.
func (s *set) selfLeaves() bool {
	return slices.ContainsFunc(s.Members, func(m Member) bool { return m.Name == s.Self && (m.Removed || m.Witness) })
}

// witnesses that may vote.
func (s *set) witnesses() int { return (s.target - 1) / 2 }

// only the witnesses among the members, or those that are none.
func only(members []Member, witness bool) []Member {
	return slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return m.Witness != witness })
}

// gone: its replica is of no use any more.
func (m Member) gone() bool { return m.Lost || m.Halted || m.Removed }

// isUp: its replica takes part now.
func (s *set) isUp(m Member) bool { return m.Name == s.Self || (m.Ready && !m.gone()) }

// majority: the live voters are one even when there are so many more voters.
func (s *set) majority(more int) bool {
	up := 0
	for _, m := range s.voters {
		if s.isUp(m) {
			up++
		}
	}
	return 2*up > len(s.voters)+more
}

func (s *set) allReady() bool {
	return !slices.ContainsFunc(s.voters, func(m Member) bool { return !s.isUp(m) })
}

// others are the voters without the coordinator.
func (s *set) others() []Member {
	return slices.DeleteFunc(slices.Clone(s.voters), func(m Member) bool { return m.Name == s.Self })
}

// live leaves out those that are gone.
func (s *set) live(members []Member) []Member {
	return slices.DeleteFunc(slices.Clone(members), Member.gone)
}

// perZone counts the live ones of several groups.
func (s *set) perZone(groups ...[]Member) map[string]int {
	count := map[string]int{}
	for _, group := range groups {
		for _, m := range s.live(group) {
			count[m.Zone]++
		}
	}
	return count
}

// best is the one whose zone has the fewest, then the first by name; nil when
// there is none.
func best(members []Member, perZone map[string]int) *Member {
	if len(members) == 0 {
		return nil
	}
	m := slices.MinFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(perZone[a.Zone], perZone[b.Zone]), cmp.Compare(a.Name, b.Name))
	})
	return &m
}

// worst is the one whose zone has the most, then the last by name.
func worst(members []Member, perZone map[string]int) *Member {
	if len(members) == 0 {
		return nil
	}
	m := slices.MaxFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(perZone[a.Zone], perZone[b.Zone]), cmp.Compare(a.Name, b.Name))
	})
	return &m
}
