package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// want carries out a plan made from the present state, and expects this many
// parts to be rejected.
func (s *site) want(rejected uint32, plan *sitev1.Plan) {
	s.t.Helper()
	if got := s.plan(plan); got != rejected {
		s.t.Errorf("%d parts were rejected, want %d", got, rejected)
	}
}

func creates(parts ...*sitev1.NewPlacement) *sitev1.Plan { return &sitev1.Plan{Create: parts} }
func assigns(parts ...*sitev1.Assignment) *sitev1.Plan   { return &sitev1.Plan{Assign: parts} }
func removes(parts ...*sitev1.Removal) *sitev1.Plan      { return &sitev1.Plan{Remove: parts} }

func replaces(workload string, generation uint64, old string) *sitev1.NewPlacement {
	part := create(workload, generation)
	part.Replaces = old
	return part
}

var running = &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: 1}

// TestStalePartsAreRejected decides on one state and carries it out on another
// one: rejected, and nothing is changed.
func TestStalePartsAreRejected(t *testing.T) {
	other := func(w *skerryv1.Workload) { w.Container.Command = []string{"other"} }
	for _, test := range []struct {
		name  string
		since func(*site)
		plan  *sitev1.Plan
	}{
		{"a placement of an older generation", func(s *site) { s.ok(applyEntry(testWorkload("web", 2, other))) }, creates(create("web", 1))},
		{"a placement of a workload that was deleted", func(s *site) { s.ok(deleteEntry("Workload", "web")) }, creates(create("web", 1))},
		{"a placement too many", func(*site) {}, creates(create("web", 1))},
		{"an assignment to a node that was lost", func(s *site) { s.setState("n3", skerryv1.NodeState_NODE_STATE_LOST) }, assigns(assign("web-2", "n3"))},
		{"an assignment to a node that was removed", func(s *site) { s.ok(deleteEntry("Node", "n3")) }, assigns(assign("web-2", "n3"))},
		{"an assignment to a node that there is not", func(*site) {}, assigns(assign("web-2", "n9"))},
		{"an assignment of what has a node already", func(*site) {}, assigns(assign("web-1", "n3"))},
		{"an assignment of what was deleted", func(s *site) { s.ok(deleteEntry("Placement", "web-2")) }, assigns(assign("web-2", "n3"))},
		{"a removal of what is being stopped", func(s *site) { s.ok(deleteEntry("Placement", "web-1")) }, removes(remove("web-1"))},
		{"a removal of what is needed after all", func(s *site) { s.report("n2", "web-1", running, false) }, removes(remove("web-1"))},
		{"a replacement of one whose node is back", func(s *site) {
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.setState("n2", skerryv1.NodeState_NODE_STATE_READY)
		}, creates(replaces("web", 1, "web-1"))},
		{"a replacement of one that is being stopped", func(s *site) {
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.ok(deleteEntry("Placement", "web-1"))
			s.plan(creates(create("web", 1)))
		}, creates(replaces("web", 1, "web-1"))},
		{"a replacement of one that has no node", func(*site) {}, creates(replaces("web", 1, "web-2"))},
		{"a replacement of another workload's", func(s *site) {
			s.ok(applyEntry(testWorkload("db", 1)))
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
		}, creates(replaces("db", 1, "web-1"))},
		{"a postponement of what has a node", func(*site) {}, &sitev1.Plan{Postpone: []*sitev1.Postponement{{Project: "default", Placement: "web-1"}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, 3)
			s.ok(applyEntry(testWorkload("web", 2)))
			s.want(0, creates(create("web", 1), create("web", 1)))
			s.want(0, assigns(assign("web-1", "n2")))
			test.since(s)
			before := s.objects()
			s.want(1, test.plan)
			if string(before) != string(s.objects()) {
				t.Error("the rejected part changed something")
			}
		})
	}
}

func TestRemovalIsRejectedWhenTheWorkloadChangedSince(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("web", 2)))
	s.want(0, creates(create("web", 1), create("web", 1)))
	s.ok(applyEntry(testWorkload("web", 1)))
	base := s.index
	s.ok(applyEntry(testWorkload("web", 2)))
	stale := removes(remove("web-2"))
	stale.BaseIndex = base
	if got := s.ok(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: stale}}).GetRejected(); got != 1 {
		t.Errorf("%d parts were rejected, want 1", got)
	}
	s.wantNames("web", "web-1", "web-2")
}

func TestPlanFromTheFutureIsRefused(t *testing.T) {
	s := newSite(t, 1)
	s.refused("invalid", &sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{BaseIndex: s.index + 1}}})
	s.refused("invalid", &sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{
		BaseIndex: s.index, Remove: make([]*sitev1.Removal, maxParts+1),
	}}})
}

func TestNodeIsNeverOverbooked(t *testing.T) {
	s := newSite(t, 1)
	s.ok(applyEntry(testWorkload("web", 5))) // of 500m each, for 2 cores
	s.want(0, creates(create("web", 1), create("web", 1), create("web", 1), create("web", 1), create("web", 1)))
	s.want(1, assigns(assign("web-1", "n1"), assign("web-2", "n1"), assign("web-3", "n1"), assign("web-4", "n1"), assign("web-5", "n1")))
	s.want(1, assigns(assign("web-5", "n1")))
	// What is to be stopped takes its room until it is gone.
	s.ok(deleteEntry("Placement", "web-1"))
	s.want(1, assigns(assign("web-5", "n1")))
	s.report("n1", "web-1", nil, true)
	s.want(0, assigns(assign("web-5", "n1")))
}

// TestWhatStaysNeverRunsTwice: whatever happens to the node or the workload,
// the next one gets a node when the first is known to be gone.
func TestWhatStaysNeverRunsTwice(t *testing.T) {
	other := func(w *skerryv1.Workload) { w.Container.Command = []string{"other"} }
	for _, test := range []struct {
		name  string
		event func(*site)
	}{
		{"its node is lost", func(s *site) { s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST) }},
		{"its node is lost and comes back", func(s *site) {
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.setState("n2", skerryv1.NodeState_NODE_STATE_READY)
		}},
		{"it is deleted", func(s *site) { s.ok(deleteEntry("Placement", "web-1")) }},
		{"it is deleted on a node that is lost", func(s *site) {
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.ok(deleteEntry("Placement", "web-1"))
		}},
		{"its workload is deleted and made again", func(s *site) {
			s.ok(deleteEntry("Workload", "web"))
			s.ok(applyEntry(testWorkload("web", 1, stays)))
		}},
		{"its workload is deleted and made again while its node is lost", func(s *site) {
			s.ok(deleteEntry("Workload", "web"))
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.ok(applyEntry(testWorkload("web", 1, stays)))
		}},
		{"its node is lost and its workload may move from then on", func(s *site) {
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.ok(applyEntry(testWorkload("web", 1)))
		}},
		{"its node is lost, it is deleted, and its workload may move from then on", func(s *site) {
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.ok(deleteEntry("Placement", "web-1"))
			s.ok(applyEntry(testWorkload("web", 1)))
		}},
		{"its node is lost, and its workload is made again as one that may move", func(s *site) {
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.ok(deleteEntry("Workload", "web"))
			s.ok(applyEntry(testWorkload("web", 1)))
		}},
		{"it is to be replaced, and its workload may move from then on", func(s *site) {
			s.ok(deleteEntry("Placement", "web-1"))
			s.tryEverything()
			s.ok(applyEntry(testWorkload("web", 1)))
		}},
		{"it is updated", func(s *site) { s.ok(applyEntry(testWorkload("web", 1, stays, other))) }},
		{"it is updated and deleted", func(s *site) {
			s.ok(applyEntry(testWorkload("web", 1, stays, other)))
			s.ok(deleteEntry("Placement", "web-1"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := withWork(t, stays)
			s.report("n2", "web-1", running, false)
			test.event(s)
			s.tryEverything()
			if held := s.bound("web"); len(held) != 1 || held[0] != "web-1 on n2" {
				t.Fatalf("it runs as %v", held)
			}
			// Its node says that it is gone.
			if rejected := s.report("n2", "web-1", nil, true); rejected != 0 {
				return // it was not asked to stop
			}
			s.tryEverything()
			if held := s.bound("web"); len(held) > 1 {
				t.Errorf("after it is gone it runs as %v", held)
			}
		})
	}
}

// bound are the placements of a workload that may run.
func (s *site) bound(workload string) []string {
	var names []string
	for _, p := range s.store.View().PlacementsOf("default", workload) {
		if p.GetNode() != "" {
			names = append(names, p.GetName()+" on "+p.GetNode())
		}
	}
	return names
}

// tryEverything makes and assigns whatever the state lets through.
func (s *site) tryEverything() {
	s.t.Helper()
	generation := s.store.View().Workload("default", "web").GetGeneration()
	plan := creates(create("web", generation))
	for _, name := range s.names("web") {
		plan.Create = append(plan.Create, replaces("web", generation, name))
	}
	s.plan(plan)
	plan = &sitev1.Plan{}
	for _, name := range s.names("web") {
		for _, node := range []string{"n1", "n2", "n3"} {
			plan.Assign = append(plan.Assign, assign(name, node))
		}
	}
	s.plan(plan)
}

func TestReplacementOfWhatMayMove(t *testing.T) {
	s := withWork(t)
	s.report("n2", "web-1", running, false)
	s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
	s.want(0, creates(replaces("web", 1, "web-1")))
	s.want(1, creates(replaces("web", 1, "web-1")))
	s.want(0, assigns(assign("web-2", "n3")))
	if got := s.store.View().Placement("default", "web-1").GetReplacedBy(); got != "web-2" {
		t.Errorf("web-1 is replaced by %q", got)
	}
	// The node is back: one of the two is surplus, and may be removed.
	s.setState("n2", skerryv1.NodeState_NODE_STATE_READY)
	s.report("n3", "web-2", running, false)
	s.want(1, removes(remove("web-1"), remove("web-2")))
}
