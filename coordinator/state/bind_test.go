package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// binds a new placement to a node; the creation of this number explains it too.
func binds(workload, node string, explainedBy uint32) *sitev1.NewPlacement {
	part := create(workload, 1)
	part.Bind, part.ExplainedBy = node, explainedBy
	part.Decision = &skerryv1.Decision{Summary: "it fits " + node}
	return part
}

func TestANewPlacementGetsItsNodeInTheSameEntry(t *testing.T) {
	s := newSite(t, 3)
	s.ok(applyEntry(testWorkload("web", 3)))
	s.want(0, creates(binds("web", "n2", 0), create("web", 1), binds("web", "n3", 1)))
	for name, want := range map[string]struct{ node, explainedBy string }{
		"web-1": {"n2", ""}, "web-2": {"", ""}, "web-3": {"n3", "web-1"},
	} {
		p := s.store.View().Placement("default", name)
		if p.GetNode() != want.node || p.GetDecision().GetExplainedBy() != want.explainedBy {
			t.Errorf("%s is on %q, explained by %q; want %q and %q", name, p.GetNode(), p.GetDecision().GetExplainedBy(), want.node, want.explainedBy)
		}
		if bound := p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_ASSIGNED; bound != (want.node != "") {
			t.Errorf("%s is %s", name, p.GetStatus().GetPhase())
		}
	}
	if touched, known := s.store.View().TouchedAfter(s.index - 1); !known || len(touched) != 2 {
		t.Errorf("%v were changed, want n2 and n3", touched)
	}
}

func TestANewPlacementWhoseNodeDoesNotFitAnyMoreWaits(t *testing.T) {
	for name, since := range map[string]func(*site){
		"the node is lost":     func(s *site) { s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST) },
		"the node was removed": func(s *site) { s.ok(deleteEntry("Node", "n2")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 3)
			s.ok(applyEntry(testWorkload("web", 2)))
			since(s)
			s.want(1, creates(binds("web", "n2", 0)))
			if p := s.store.View().Placement("default", "web-1"); p == nil || p.GetNode() != "" {
				t.Errorf("it should wait for a node: %v", p)
			}
		})
	}
}

func TestOnePlanFillsANodeAndNoMore(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("web", 20, func(w *skerryv1.Workload) {
		w.Container.Resources = &skerryv1.Resources{Cpu: "400m", Memory: "1Mi"}
	})))
	plan := &sitev1.Plan{}
	for range 20 {
		plan.Create = append(plan.Create, binds("web", "n2", 0))
	}
	room := s.store.View().Node("n2").GetCapacity().GetCpuMilli() / 400
	s.want(20-uint32(room), plan)
	if got := len(s.store.View().PlacementsOn("n2")); got != int(room) {
		t.Errorf("%d placements are on n2, want %d", got, room)
	}
	s.want(1, creates(create("web", 1))) // all of them were made
}
