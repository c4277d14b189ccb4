package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// withWork is a site of three nodes where web-1 runs on n2.
func withWork(t *testing.T, change ...func(*skerryv1.Workload)) *site {
	t.Helper()
	s := newSite(t, 3)
	s.ok(applyEntry(testWorkload("web", 1, change...)))
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("web", 1)}})
	if rejected := s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign("web-1", "n2")}}); rejected != 0 {
		t.Fatalf("%d assignments were rejected", rejected)
	}
	return s
}

func TestWhichNodesMayBeRemoved(t *testing.T) {
	for _, test := range []struct {
		name, kind string // no kind: it may
		node       string
		prepare    func(*site)
		change     []func(*skerryv1.Workload)
	}{
		{name: "one that is empty", node: "n3"},
		{name: "the only voter", kind: "conflict", node: "n1"},
		{name: "one that nobody knows", kind: "not_found", node: "n9"},
		{name: "one that runs something", kind: "conflict", node: "n2"},
		{name: "one that still stops something", kind: "conflict", node: "n2", prepare: func(s *site) { s.ok(deleteEntry("Workload", "web")) }},
		{name: "a lost one", node: "n2", prepare: func(s *site) { s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST) }},
		{
			name: "a lost one with what stays on it", kind: "conflict", node: "n2",
			prepare: func(s *site) { s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST) },
			change:  []func(*skerryv1.Workload){stays},
		},
		{
			name: "a lost one whose staying work was deleted", node: "n2",
			prepare: func(s *site) {
				s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
				s.ok(deleteEntry("Placement", "web-1"))
			},
			change: []func(*skerryv1.Workload){stays},
		},
		{name: "one that was removed already", kind: "not_found", node: "n3", prepare: func(s *site) { s.ok(deleteEntry("Node", "n3")) }},
		{name: "the voter when there is another one", node: "n1", prepare: func(s *site) {
			s.index++
			s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{AddNode: "n3", AddRaftId: 2, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
		}},
		{name: "the voter when the other one only follows", kind: "conflict", node: "n1", prepare: func(s *site) {
			s.index++
			s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{AddNode: "n3", AddRaftId: 2, Role: skerryv1.VoterRole_VOTER_ROLE_LEARNER})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := withWork(t, test.change...)
			if test.prepare != nil {
				test.prepare(s)
			}
			if test.kind != "" {
				s.refused(test.kind, deleteEntry("Node", test.node))
				return
			}
			s.ok(deleteEntry("Node", test.node))
			if got := s.store.View().Node(test.node).GetState(); got != skerryv1.NodeState_NODE_STATE_REMOVED {
				t.Errorf("its state is %v", got)
			}
			if left := s.store.View().PlacementsOn(test.node); len(left) != 0 {
				t.Errorf("%d placements are left on it", len(left))
			}
		})
	}
}

func TestRemovedNodeIsOutForGood(t *testing.T) {
	s := newSite(t, 3)
	s.ok(deleteEntry("Node", "n3"))
	for _, state := range []skerryv1.NodeState{skerryv1.NodeState_NODE_STATE_READY, skerryv1.NodeState_NODE_STATE_LOST} {
		s.refused("conflict", &sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: "n3", State: state}}})
	}
	before := s.objects()
	if rejected := s.report("n3", "web-1", &skerryv1.PlacementStatus{Revision: 1}, false); rejected != 1 {
		t.Errorf("%d reports were rejected, want 1", rejected)
	}
	if string(before) != string(s.objects()) {
		t.Error("the report of a removed node changed something")
	}
}

func TestReportsOfOthersAreNotBelieved(t *testing.T) {
	for _, test := range []struct {
		name            string
		node, placement string
		status          *skerryv1.PlacementStatus
		gone            bool
	}{
		{"another node reports the placement", "n3", "web-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: 9}, false},
		{"another node says that it is gone", "n3", "web-1", nil, true},
		{"the node has lost what it should run", "n2", "web-1", nil, true},
		{"a report overtaken by a newer one", "n2", "web-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_FAILED, Revision: 4}, false},
		{"a placement that nobody knows", "n2", "web-9", &skerryv1.PlacementStatus{Revision: 9}, false},
		{"a report without a status", "n2", "web-1", nil, false},
		{"a node that nobody knows", "n9", "web-1", &skerryv1.PlacementStatus{Revision: 9}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := withWork(t)
			s.report("n2", "web-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: 5}, false)
			before := s.objects()
			if rejected := s.report(test.node, test.placement, test.status, test.gone); rejected != 1 {
				t.Errorf("%d reports were rejected, want 1", rejected)
			}
			if string(before) != string(s.objects()) {
				t.Error("it changed something")
			}
		})
	}
}
