package voters

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	voter   = skerryv1.VoterRole_VOTER_ROLE_VOTER
	learner = skerryv1.VoterRole_VOTER_ROLE_LEARNER
)

// site of members as text: `n1:a:voter n2:b:learner,behind n3:c:lost`, name,
// zone, and what is special. n1 coordinates.
func site(text string) Input {
	in := Input{Self: "n1", NextRaftID: 100}
	for i, field := range strings.Fields(text) {
		name, rest, _ := strings.Cut(field, ":")
		zone, words, _ := strings.Cut(rest, ":")
		m := Member{Name: name, Zone: zone, MayVote: true, Ready: true}
		for word := range strings.SplitSeq(words, ",") {
			switch word {
			case "voter":
				m.Role = voter
			case "learner":
				m.Role, m.CaughtUp = learner, true
			case "behind":
				m.CaughtUp = false
			case "lost":
				m.Lost, m.Ready = true, false
			case "doubt":
				m.Ready = false
			case "removed":
				m.Removed, m.Ready = true, false
			case "halted":
				m.Halted = true
			case "never":
				m.MayVote = false
			case "witness":
				m.Witness = true
			}
		}
		if m.Role != 0 {
			m.RaftID = uint64(i + 1)
		}
		in.Members = append(in.Members, m)
	}
	return in
}

// say what a change does: `+n2` adds a learner, `^n2` a voter, `-n3` removes.
func say(change *sitev1.VoterChange) string {
	var parts []string
	switch {
	case change.GetAddNode() == "":
	case change.GetRole() == voter:
		parts = append(parts, "^"+change.GetAddNode())
	default:
		parts = append(parts, "+"+change.GetAddNode())
	}
	if change.GetRemoveNode() != "" {
		parts = append(parts, "-"+change.GetRemoveNode())
	}
	return strings.Join(parts, " ")
}

// carryOut a change; who is added catches up at once.
func carryOut(t interface{ Fatalf(string, ...any) }, in *Input, change *sitev1.VoterChange) {
	members := slices.Clone(in.Members)
	for i, m := range members {
		if m.Name == change.GetRemoveNode() {
			if m.RaftID != change.GetRemoveRaftId() {
				t.Fatalf("%s removes replica %d of %s, which has %d", say(change), change.GetRemoveRaftId(), m.Name, m.RaftID)
			}
			m.Role, m.RaftID, m.CaughtUp, m.Halted = 0, 0, false, false
		}
		if m.Name == change.GetAddNode() {
			switch {
			case change.GetRole() == voter && (m.Role != learner || m.RaftID != change.GetAddRaftId()):
				t.Fatalf("%s promotes replica %d of %+v", say(change), change.GetAddRaftId(), m)
			case change.GetRole() == learner && (m.RaftID != 0 || change.GetAddRaftId() < in.NextRaftID):
				t.Fatalf("%s gives replica %d to %+v", say(change), change.GetAddRaftId(), m)
			}
			m.Role, m.RaftID, m.CaughtUp = change.GetRole(), change.GetAddRaftId(), true
		}
		members[i] = m
	}
	in.NextRaftID = max(in.NextRaftID, change.GetAddRaftId()+1)
	in.Members = members
}

// run carries out changes until there are none.
func run(t interface{ Fatalf(string, ...any) }, in *Input) []string {
	var said []string
	for range 100 {
		change := Next(*in)
		if change == nil {
			return said
		}
		said = append(said, say(change))
		carryOut(t, in, change)
	}
	t.Fatalf("it never ends: %v", said)
	return nil
}

func TestAWitnessThatCoordinatesChangesNothing(t *testing.T) {
	in := site("n1:a:voter,witness n2:b:voter n3:c:voter,lost n4:c:learner")
	if change := Next(in); change != nil {
		t.Errorf("it wants %s", say(change))
	}
}

func TestTarget(t *testing.T) {
	for nodes, want := range map[int]int{1: 1, 2: 1, 3: 3, 4: 3, 6: 3, 7: 5, 100: 5} {
		if got := Target(nodes); got != want {
			t.Errorf("%d nodes have %d voters, want %d", nodes, got, want)
		}
	}
}

func TestNext(t *testing.T) {
	for _, test := range []struct{ name, site, want string }{
		{"one node is content", "n1:a:voter", ""},
		{"so are two", "n1:a:voter n2:b", ""},
		{"two nodes and a witness vote", "n1:a:voter n2:b:learner n3:c:learner,witness", "^n2"},
		{"the witness last", "n1:a:voter n2:b:voter n3:c:learner,witness", "^n3"},
		{"a witness alone beside one node is of no use", "n1:a:voter n2:b:witness", ""},
		{"nor does it follow there", "n1:a:voter n2:b:learner,witness", "-n2"},
		{"it goes when a site becomes that small", "n1:a:voter n2:b:voter,removed n3:c:voter,witness", "-n2"},
		{"and then votes no more", "n1:a:voter n3:c:voter,witness", "-n3"},
		{"one witness of three voters is enough", "n1:a:voter n2:b:voter,lost n3:c:voter,witness n4:d:learner,witness", "-n4"},
		{"a lost witness is replaced by another", "n1:a:voter n2:b:voter n3:c:voter,witness,lost n4:c:learner,witness", "^n4 -n3"},
		{"or by any other node", "n1:a:voter n2:b:voter n3:c:voter,witness,lost n4:c:learner", "^n4 -n3"},
		{"a witness in a zone of its own votes before another node", "n1:a:voter n2:b:voter n3:a:learner n4:c:learner,witness", "^n4"},
		{"a third node brings in learners", "n1:a:voter n2:b n3:c", "+n2"},
		{"a learner that is behind does not vote", "n1:a:voter n2:b:learner,behind n3:c:learner", ""},
		{"nor is there an even number for long", "n1:a:voter n2:b:learner n3:c:learner", "^n2"},
		{"the next one follows", "n1:a:voter n2:b:voter n3:c:learner", "^n3"},
		{"who may not vote does not", "n1:a:voter n2:b:never n3:c:never", ""},
		{"three of four voters and one stands by", "n1:a:voter n2:b:voter n3:c:voter n4:d", "+n4"},
		{"two stand by", "n1:a:voter n2:b:voter n3:c:voter n4:d:learner n5:e", "+n5"},
		{"not three", "n1:a:voter n2:b:voter n3:c:voter n4:d:learner n5:e:learner n6:f", ""},
		{"learners come from the emptiest zone", "n1:a:voter n2:a n3:b n4:c", "+n3"},
		{"and then from the next", "n1:a:voter n2:a n3:b:learner n4:b n5:c", "+n5"},
		{"voters come from the emptiest zone", "n1:a:voter n2:a:learner n3:b:learner", "^n3"},
		{"a dead voter is replaced in one change", "n1:a:voter n2:b:voter n3:c:voter,lost n4:c:learner", "^n4 -n3"},
		{"from the zone that has none", "n1:a:voter n2:b:voter n3:c:voter,lost n4:a:learner n5:c:learner", "^n5 -n3"},
		{"not by one that is behind", "n1:a:voter n2:b:voter n3:c:voter,lost n4:c:learner,behind", ""},
		{"a dead voter calls for another learner", "n1:a:voter n2:b:voter n3:c:voter,lost n4:a:learner,behind n5:b:learner,behind n6:c", "+n6"},
		{"one in doubt is left alone", "n1:a:voter n2:b:voter n3:c:voter,doubt n4:c:learner", ""},
		{"a dead voter without replacement stays", "n1:a:voter n2:b:voter n3:c:voter,lost", ""},
		{"the coordinator never removes itself", "n1:a:voter,halted n2:b:voter n3:c:voter n4:a:learner", ""},
		{"a halted voter is replaced", "n1:a:voter n2:b:voter,halted n3:c:voter n4:b:learner", "^n4 -n2"},
		{"a halted voter gets a new replica when there is nobody else", "n1:a:voter n2:b:voter,halted n3:c:voter", "+n2 -n2"},
		{"but not when too few would be left", "n1:a:voter n2:b:voter,halted n3:c:voter,doubt", ""},
		{"nor when another node is there", "n1:a:voter n2:b:voter,halted n3:c:voter n4:d", "+n4"},
		{"a halted learner goes", "n1:a:voter n2:b:voter n3:c:voter n4:d:learner,halted", "-n4"},
		{"a removed voter is replaced", "n1:a:voter n2:b:voter,removed n3:c:voter n4:b:learner", "^n4 -n2"},
		{"a removed voter goes when the site is small", "n1:a:voter n2:b:voter,removed n3:c:voter", "-n2"},
		{"and the next one, down to one", "n1:a:voter n2:b:removed n3:c:voter", "-n3"},
		{"a coordinator that was removed does not outlive the others", "n1:a:voter,removed n2:b:voter n3:c:voter", ""},
		{"nor does it choose who votes", "n1:a:voter,removed n2:b:voter n3:c:voter,lost n4:d:learner", ""},
		{"but not while one is in doubt", "n1:a:voter n2:b:removed n3:c:voter,doubt", ""},
		{"five voters of six nodes become four", "n1:a:voter n2:b:voter n3:c:voter n4:a:voter n5:b:voter n6:c", "-n5"},
		{"a lost one first", "n1:a:voter n2:b:voter n3:c:voter n4:a:voter,lost n5:b:voter n6:c", "-n4"},
		{"a lost node does not make the site smaller", "n1:a:voter n2:b:voter n3:c:lost", ""},
		{"voters of one zone are spread when they can be", "n1:a:voter n2:a:voter n3:a:voter n4:b:learner", "^n4 -n3"},
		{"learners too", "n1:a:voter n2:a:voter n3:a:voter n4:a:learner n5:a:learner n6:b", "+n6 -n5"},
		{"a lost learner goes when another is there", "n1:a:voter n2:b:voter n3:c:voter n4:d:learner,lost n5:e:learner n6:f:learner", "-n4"},
		{"not before", "n1:a:voter n2:b:voter n3:c:voter n4:d:learner,lost n5:e:learner", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := say(Next(site(test.site))); got != test.want {
				t.Errorf("%s gives %q, want %q", test.site, got, test.want)
			}
		})
	}
}

func TestASiteGrows(t *testing.T) {
	for _, test := range []struct{ site, want string }{
		{"n1:a:voter n2:b n3:c", "+n2 +n3 ^n2 ^n3"},
		{"n1:a:voter n2:a n3:b n4:b n5:c n6:c n7:c", "+n3 +n5 ^n3 ^n5 +n2 +n4 ^n2 ^n4 +n6 +n7"},
	} {
		in := site(test.site)
		if got := strings.Join(run(t, &in), " "); got != test.want {
			t.Errorf("%s does %q, want %q", test.site, got, test.want)
		}
	}
}

func TestIDsAreNeverUsedAgain(t *testing.T) {
	in := site("n1:a:voter n2:b n3:c n4:d")
	run(t, &in)
	seen := in.NextRaftID
	for i := range in.Members {
		if in.Members[i].Name == "n2" {
			in.Members[i].Lost, in.Members[i].Ready = true, false
		}
	}
	run(t, &in)
	for i := range in.Members {
		in.Members[i].Lost, in.Members[i].Ready = false, true
	}
	run(t, &in)
	for _, m := range in.Members {
		if m.Name == "n2" && m.RaftID < seen {
			t.Errorf("n2 comes back as replica %d", m.RaftID)
		}
	}
	if got := fmt.Sprint(len(sortOut(in).voters)); got != "3" {
		t.Errorf("%s voters", got)
	}
}
