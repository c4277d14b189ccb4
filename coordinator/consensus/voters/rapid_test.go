package voters

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// anyMember of a site; the first one coordinates.
func anyMember(t *rapid.T, i int) Member {
	m := Member{
		Name: fmt.Sprintf("n%d", i), Zone: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "zone"),
		MayVote: rapid.IntRange(0, 9).Draw(t, "may vote") > 0, Ready: true,
	}
	if i != 1 {
		m.Witness = rapid.IntRange(0, 4).Draw(t, "witness") == 0
		m.MayVote = m.MayVote || m.Witness
	}
	if i == 1 {
		m.Role, m.RaftID, m.MayVote = voter, 1, true
		return m
	}
	switch rapid.IntRange(0, 5).Draw(t, "life") {
	case 0:
		m.Ready, m.Lost = false, true
	case 1:
		m.Ready = false
	case 2:
		m.Ready, m.Removed = false, true
	}
	if m.MayVote {
		switch rapid.IntRange(0, 3).Draw(t, "role") {
		case 0:
			m.Role, m.RaftID = voter, uint64(i)
			m.Halted = rapid.IntRange(0, 9).Draw(t, "halted") == 0
		case 1:
			m.Role, m.RaftID = learner, uint64(i)
			m.CaughtUp = rapid.Bool().Draw(t, "caught up")
			m.Halted = rapid.IntRange(0, 9).Draw(t, "halted") == 0
		}
	}
	return m
}

func anySite(t *rapid.T) Input {
	in := Input{Self: "n1", NextRaftID: 100}
	for i := range rapid.IntRange(1, 10).Draw(t, "nodes") {
		in.Members = append(in.Members, anyMember(t, i+1))
	}
	return in
}

func count(in Input, of func(Member) bool) int {
	n := 0
	for _, m := range in.Members {
		if of(m) {
			n++
		}
	}
	return n
}

func votes(m Member) bool { return m.Role == voter }

// TestNoChangeCostsTheQuorum: every change leaves a live majority of voters,
// if there was one, and only an operator makes the set smaller.
func TestNoChangeCostsTheQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anySite(t)
		change := Next(in)
		if change == nil {
			return
		}
		up := func(m Member) bool { return votes(m) && sortOut(in).isUp(m) }
		before := in
		carryOut(t, &in, change)
		if 2*count(before, up) > count(before, votes) && 2*count(in, up) <= count(in, votes) {
			t.Fatalf("%s leaves %d live voters of %d", say(change), count(in, up), count(in, votes))
		}
		readmitted := change.GetAddNode() != "" && change.GetAddNode() == change.GetRemoveNode()
		if count(in, votes) < count(before, votes) && !readmitted && count(before, votes) <= sortOut(before).target {
			t.Fatalf("%s shrinks the set of %d voters", say(change), count(before, votes))
		}
		for _, m := range in.Members {
			if m.Name == change.GetAddNode() && (!m.MayVote || !m.Ready || m.Removed) {
				t.Fatalf("%s adds %+v", say(change), m)
			}
			if added := m.Name == change.GetAddNode() && votes(m) && m.Witness; added && 2*count(in, func(m Member) bool { return votes(m) && m.Witness && !m.gone() }) >= sortOut(in).target {
				t.Fatalf("%s makes too many voters witnesses: %+v", say(change), in.Members)
			}
			if m.Name == in.Self && !votes(m) {
				t.Fatalf("%s removes the coordinator", say(change))
			}
		}
	})
}

// TestItComesToRest: on a site that does not change, the changes end, with the
// voters that the site should have, if it has the nodes for them.
func TestItComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anySite(t)
		run(t, &in)
		s := sortOut(in)
		eligible := count(in, func(m Member) bool { return s.isUp(m) && !m.Witness && (m.MayVote || votes(m)) })
		eligible += min(s.witnesses(), count(in, func(m Member) bool { return s.isUp(m) && m.Witness }))
		stuck := count(in, func(m Member) bool { return votes(m) && !s.isUp(m) })
		if stuck == 0 && eligible >= s.target && len(s.voters) != s.target &&
			count(in, func(m Member) bool { return m.Role == learner && !m.CaughtUp }) == 0 {
			t.Fatalf("%d voters, want %d: %+v", len(s.voters), s.target, in.Members)
		}
	})
}
