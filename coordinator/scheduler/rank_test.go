package scheduler

import (
	"fmt"
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWherePlacementsGo(t *testing.T) {
	web, other := template("web", 9), template("other", 9)
	lostOne := placement(web, 90, "n1")
	lostOne.LostSince = lostOne.Created
	replaced := placement(web, 91, "n1")
	replaced.ReplacedBy = "web-92"
	for _, test := range []struct {
		name string
		in   Input
		want string
	}{
		{"by name when all is equal", pending(siteOf(machine("n2", "a"), machine("n1", "a")), web, 1), "web-1:n1"},
		{"over zones, then over nodes", pending(siteOf(machine("n1", "a"), machine("n2", "a"), machine("n3", "b")), web, 4),
			"web-1:n1 web-2:n3 web-3:n2 web-4:n3"},
		{"over zones even when nodes are emptier elsewhere", pending(siteOf(machine("n1", "a"), machine("n2", "a"), machine("n3", "a"), machine("n4", "b")), web, 4),
			"web-1:n1 web-2:n4 web-3:n2 web-4:n4"},
		{"over a label", pending(siteOf(machine("n1", "a", hasLabel("rack", "1")), machine("n2", "b", hasLabel("rack", "1")), machine("n3", "c", hasLabel("rack", "2"))),
			template("web", 2, spreads("rack")), 2), "web-1:n1 web-2:n3"},
		{"to the least loaded", pending(with(siteOf(machine("n1", "a"), machine("n2", "a")), other, placement(other, 1, "n1")), web, 1), "web-1:n2"},
		{"load counts in shares", pending(with(siteOf(machine("n1", "a", hasCPU(4000)), machine("n2", "a", hasCPU(1000))), other,
			placement(other, 1, "n1"), placement(other, 2, "n1")), web, 1), "web-1:n1"},
		{"spread counts before load", pending(with(siteOf(machine("n1", "a"), machine("n2", "b")), other, placement(other, 1, "n2"), placement(other, 2, "n2")), web, 2),
			"web-1:n1 web-2:n2"},
		{"what is full takes no more", pending(siteOf(machine("n1", "a", hasCPU(500)), machine("n2", "a", hasCPU(1000))), web, 4),
			"web-1:n2 web-2:n1 web-3:n2 web-4: no node fits: 2 nodes without 500m CPU free"},
		{"what stops takes room until it is gone", pending(with(siteOf(machine("n1", "a", hasCPU(500)), machine("n2", "a", hasCPU(500))), other, stopping(placement(other, 1, "n1"))), web, 1),
			"web-1:n2"},
		{"what stops, is lost or replaced does not count as spread", pending(with(siteOf(machine("n1", "a"), machine("n2", "b", hasCPU(500))), web,
			stopping(placement(web, 89, "n1")), lostOne, replaced), template("web", 9), 1), "web-1:n1"},
		{"a host port is taken once", pending(siteOf(machine("n1", "a"), machine("n2", "a")), template("web", 3, publishes(80)), 3),
			"web-1:n1 web-2:n2 web-3: no node fits: 2 nodes with port 80/tcp taken"},
		{"removed nodes do not exist", pending(siteOf(machine("n1", "a", func(n *skerryv1.Node) { n.State = skerryv1.NodeState_NODE_STATE_REMOVED }), machine("n2", "a")), web, 1), "web-1:n2"},
		{"only where it may", pending(siteOf(machine("n1", "a"), machine("n2", "b"), machine("n3", "c")), template("web", 2, requires("zone", "b", "c")), 2), "web-1:n2 web-2:n3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := say(test.in); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestTheOneWithTheImageIsBetter(t *testing.T) {
	in := pending(siteOf(machine("n1", "a"), machine("n2", "a")), template("web", 1), 1)
	in.Images[0].Nodes = []string{"n2"}
	if got := say(in); got != "web-1:n2" {
		t.Errorf("got %s, want the node that has the image", got)
	}
}

func TestOldestFirst(t *testing.T) {
	web, db := template("web", 2), template("db", 1)
	in := with(with(siteOf(machine("n1", "a", hasCPU(1000))), web, placement(web, 10, ""), placement(web, 9, "")), db, placement(db, 11, ""))
	if got, want := say(in), "web-9:n1 web-10:n1 db-11: no node fits: 1 node without 500m CPU free"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	// Of the same moment: as people count.
	for _, p := range in.Placements {
		p.Created = nil
	}
	if got, want := say(in), "db-11:n1 web-9:n1 web-10: no node fits: 1 node without 500m CPU free"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWhatStaysWaitsForItsPredecessor(t *testing.T) {
	db := template("db", 2, stays)
	in := with(siteOf(machine("n1", "a"), machine("n2", "b")), db,
		placement(db, 1, "n1"), stopping(placement(db, 2, "n2")), placement(db, 3, ""))
	const waits = ": its predecessor may still run on its node: it waits until that is gone"
	if got, want := say(in), "db-3"+waits; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	in.Placements = append(in.Placements[:1], in.Placements[2:]...)
	in.Placements = append(in.Placements, placement(db, 4, ""))
	if got, want := say(in), "db-3:n2 db-4"+waits; got != want {
		t.Errorf("got  %s\nwant %s: only one more may run", got, want)
	}
}

func TestEveryChoiceHasItsReasons(t *testing.T) {
	web := template("web", 2)
	in := with(siteOf(machine("n1", "a"), machine("n2", "b"), machine("n3", "b", isLost)), web, placement(web, 1, "n1"), placement(web, 2, ""))
	assigned := Schedule(in).Assign
	decision := assigned[0].GetDecision()
	if want := "n2 is the best of 2 that fit: spread zone=b: 0 of 1 placements, 0 on this node, 25.0 % taken with it"; decision.GetSummary() != want {
		t.Errorf("it says %q, want %q", decision.GetSummary(), want)
	}
	var verdicts []string
	for _, v := range decision.GetVerdicts() {
		verdicts = append(verdicts, v.GetNode()+": "+strings.Join(append(v.GetReasons(), v.GetRuledOut()...), "; "))
	}
	want := `n2: spread zone=b: 0 of 1 placements; 0 of them on this node; 25.0 % taken with it; it holds the image
n1: spread zone=a: 1 of 1 placements; 1 of them on this node; 50.0 % taken with it; it holds the image
n3: it is lost`
	if got := strings.Join(verdicts, "\n"); got != want {
		t.Errorf("verdicts\n%s\nwant\n%s", got, want)
	}
	if best, next := decision.GetVerdicts()[0].GetScore(), decision.GetVerdicts()[1].GetScore(); best <= next || best > permille {
		t.Errorf("scores are %v and %v", best, next)
	}
	in.Nodes[0].Capacity.CpuMilli = 0
	assigned = Schedule(in).Assign
	if got, want := assigned[0].GetDecision().GetSummary(), "n2 is the only one of 3 nodes that fits"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

func TestVerdictsAreBounded(t *testing.T) {
	var nodes []*skerryv1.Node
	for i := range 40 {
		nodes = append(nodes, machine("n"+string(rune('A'+i)), "a"))
	}
	assigned := Schedule(pending(siteOf(nodes...), template("web", 1), 1)).Assign
	decision := assigned[0].GetDecision()
	if len(decision.GetVerdicts()) != maxVerdicts || decision.GetOmitted() != 8 {
		t.Errorf("%d verdicts and %d omitted", len(decision.GetVerdicts()), decision.GetOmitted())
	}
}

// TestALargePlanExplainsEachClassOnce keeps the entry small that carries it.
func TestALargePlanExplainsEachClassOnce(t *testing.T) {
	var nodes []*skerryv1.Node
	for i := range 100 {
		nodes = append(nodes, machine(fmt.Sprintf("n%03d", i), "a"))
	}
	in := pending(pending(siteOf(nodes...), template("web", 100), 100), template("xweb", 300), 300)
	explained := map[string]*skerryv1.Decision{}
	named := 0
	for _, a := range Schedule(in).Assign {
		if by := a.GetDecision().GetExplainedBy(); by == "" {
			explained[a.GetPlacement()] = a.GetDecision()
		} else if named++; explained[by] == nil || by[:3] != a.GetPlacement()[:3] || a.GetDecision().GetSummary() == "" {
			t.Fatalf("%s is explained by %q: %s", a.GetPlacement(), by, a.GetDecision().GetSummary())
		}
	}
	if len(explained) != maxExplained || named != 400-maxExplained {
		t.Errorf("%d are explained, %d name another one", len(explained), named)
	}
	full := pending(siteOf(machine("n1", "a", hasCPU(0))), template("web", 3), 3)
	for i, p := range Schedule(full).Postpone {
		if by := p.GetDecision().GetExplainedBy(); (by == "") != (i == 0) || (i > 0 && by != "web-1") {
			t.Errorf("%s is explained by %q", p.GetPlacement(), by)
		}
	}
}
