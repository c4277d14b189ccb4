package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func verdict(generation uint64, verdict sitev1.RolloutVerdict) *sitev1.Plan {
	return &sitev1.Plan{Rollouts: []*sitev1.RolloutStep{{Project: "default", Workload: "web", Generation: generation, Verdict: verdict}}}
}

// small is a canary of one, so little that all of web has room on one node.
func small(w *skerryv1.Workload) {
	w.Container.Resources.Cpu = "100m"
	w.Update = &skerryv1.Update{Strategy: "canary", Canary: 1}
}

func renewed(w *skerryv1.Workload) { w.Container.Command = []string{"new"} }

// TestACanaryKeepsToItsShareOfNodes carries out plans that were made before
// something happened. web has two good placements on n1; two more of its
// placements get a node, or one, or none.
func TestACanaryKeepsToItsShareOfNodes(t *testing.T) {
	for _, test := range []struct {
		name     string
		since    func(*site)
		plan     *sitev1.Plan
		rejected uint32
	}{
		{"two wait, and nothing happens", func(s *site) {
			s.ok(applyEntry(testWorkload("web", 4, small)))
			s.want(0, creates(create("web", 2), create("web", 2)))
		}, assigns(assign("web-3", "n1"), assign("web-4", "n1")), 0},
		{"two wait when another template is declared", func(s *site) {
			s.ok(applyEntry(testWorkload("web", 4, small)))
			s.want(0, creates(create("web", 2), create("web", 2)))
			s.ok(applyEntry(testWorkload("web", 4, small, renewed)))
		}, assigns(assign("web-3", "n1"), assign("web-4", "n1")), 1},
		{"what is on another node does not count when it is replaced", func(s *site) {
			s.canaryOn("n2")
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.want(0, creates(replaces("web", 2, "web-3")))
		}, assigns(assign("web-4", "n1")), 0},
		{"what is on another node comes back before it is replaced", func(s *site) {
			s.canaryOn("n2")
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.want(0, creates(replaces("web", 2, "web-3")))
			s.setState("n2", skerryv1.NodeState_NODE_STATE_READY)
		}, assigns(assign("web-4", "n1")), 1},
		{"it is promoted meanwhile", func(s *site) {
			s.canaryOn("n2")
			s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
			s.want(0, creates(replaces("web", 2, "web-3")))
			s.setState("n2", skerryv1.NodeState_NODE_STATE_READY)
			s.want(0, verdict(2, sitev1.RolloutVerdict_ROLLOUT_VERDICT_PROMOTED))
		}, assigns(assign("web-4", "n1")), 0},
		{"the first does not fit where it was to go, and the second does", func(s *site) {
			s.ok(applyEntry(testWorkload("web", 4, small)))
			s.want(0, creates(create("web", 2), create("web", 2)))
			s.ok(applyEntry(testWorkload("web", 4, small, renewed)))
		}, assigns(assign("web-3", "n9"), assign("web-4", "n1")), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, 2)
			s.ok(applyEntry(testWorkload("web", 2, small)))
			s.want(0, creates(binds("web", "n1", 0), binds("web", "n1", 0)))
			s.report("n1", "web-1", running, false)
			s.report("n1", "web-2", running, false)
			s.want(0, verdict(1, sitev1.RolloutVerdict_ROLLOUT_VERDICT_GOOD))
			test.since(s)
			s.want(test.rejected, test.plan)
		})
	}
}

// canaryOn a node, web-3, which is healthy.
func (s *site) canaryOn(node string) {
	s.t.Helper()
	s.ok(applyEntry(testWorkload("web", 2, small, renewed)))
	s.want(0, creates(create("web", 2)))
	s.want(0, assigns(assign("web-3", node)))
	s.report(node, "web-3", running, false)
}
