package lifecycle

import (
	"strings"
	"testing"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func onEachNode(change ...func(*skerryv1.Workload)) *skerryv1.Workload {
	return testWorkload("agent", 0, append([]func(*skerryv1.Workload){func(w *skerryv1.Workload) { w.Replicas, w.PerNode = nil, true }}, change...)...)
}

func inZone(zone string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{KeepIn: []*skerryv1.Requirement{{Label: "zone", In: []string{zone}}}}
	}
}

func TestOneOnEachNode(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(onEachNode())
	s.pass(time.Second)
	s.want("agent-1 on n1", "agent-2 on n2")
	s.join("n3", "z3")
	s.pass(time.Second)
	s.want("agent-1 on n1", "agent-2 on n2", "agent-3 on n3")
	if got := manifest.Wanted(s.view().Workload("default", "agent")); got != 3 {
		t.Errorf("%d are wanted", got)
	}

	s.nodes["n2"].off = true
	s.pass(time.Minute)
	s.want("agent-1 on n1", "agent-2 on n2, lost", "agent-3 on n3")
	s.nodes["n2"].off = false
	s.pass(5 * time.Second)
	s.want("agent-1 on n1", "agent-2 on n2", "agent-3 on n3")

	s.applyWorkload(onEachNode(args("next")))
	s.pass(10 * time.Second)
	s.want("agent-4 on n1", "agent-5 on n2", "agent-6 on n3")
}

func TestOneOnEachNodeThatMeetsTheConditions(t *testing.T) {
	s := newSite(t, 4, "a", "b")
	s.applyWorkload(onEachNode(inZone("a")))
	s.pass(time.Second)
	s.want("agent-1 on n1", "agent-2 on n3")
	s.applyWorkload(onEachNode(inZone("b")))
	s.pass(5 * time.Second)
	s.want("agent-3 on n2", "agent-4 on n4")

	// A node that leaves takes its own along.
	s.nodes["n4"].off = true
	s.pass(5 * time.Second)
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: "n4", Off: true, Weighed: true}}})
	s.pass(time.Second)
	s.want("agent-3 on n2")
	if got := manifest.Wanted(s.view().Workload("default", "agent")); got != 1 {
		t.Errorf("%d are wanted", got)
	}
}

func TestACordonedNodeKeepsItsOwn(t *testing.T) {
	s := newSite(t, 2)
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_ChangeDuty{ChangeDuty: &sitev1.ChangeDuty{Node: "n2", Duty: skerryv1.Duty_DUTY_CORDONED}}})
	s.applyWorkload(onEachNode())
	s.pass(time.Second)
	s.want("agent-1 on n1", "agent-2 on n2")
}

func TestASuccessorOnANodeWaitsUntilTheOtherIsGone(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(onEachNode())
	s.pass(time.Second)
	s.nodes["n1"].deaf = true
	s.delete("Placement", "agent-1")
	s.pass(time.Second)
	s.want("agent-1 on n1, stops, replaced by agent-3", "agent-2 on n2",
		"agent-3 pending: its predecessor may still run on its node: it waits until that is gone")
	s.nodes["n1"].deaf = false
	s.pass(time.Second)
	s.want("agent-2 on n2", "agent-3 on n1")
}

func TestOneOnEachNodeTakesTheRoomOfTheQuota(t *testing.T) {
	s := newSite(t, 2)
	quota := uint32(2)
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{Resources: []*skerryv1.Resource{
		{Kind: &skerryv1.Resource_Project{Project: &skerryv1.Project{Kind: "Project", Name: "default", Quota: &skerryv1.Quota{Placements: &quota}}}},
	}}}})
	s.applyWorkload(onEachNode())
	outcome := s.try(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: testWorkload("web", 1)}}},
	}}})
	if !strings.Contains(outcome.GetError(), "its quota is 2 placements") {
		t.Errorf("%q", outcome.GetError())
	}
	s.join("n3", "z3") // whoever adds machines decides that
	s.pass(time.Second)
	s.want("agent-1 on n1", "agent-2 on n2", "agent-3 on n3")
	if got := s.view().Projects()[0].GetUsed().GetPlacements(); got != 3 {
		t.Errorf("%d placements are counted", got)
	}
}

func TestAnUpdateIsNotHeldAgainstNodesThatAreAway(t *testing.T) {
	for name, away := range map[string]struct{ go_, back func(*site) }{
		"in maintenance": {func(s *site) { s.duty("n3", maintenance) }, func(s *site) { s.duty("n3", inService) }},
		"lost":           {func(s *site) { s.nodes["n3"].off = true }, func(s *site) { s.nodes["n3"].off = false }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 3)
			next := func(change ...func(*skerryv1.Workload)) *skerryv1.Workload {
				w := onEachNode(append(change, updates(&skerryv1.Update{AutoRollback: true, Deadline: "20s"}))...)
				w.Name = "web"
				return w
			}
			s.applyWorkload(next())
			s.pass(5 * time.Second)
			s.wantHistory("1 good")
			away.go_(s)
			s.pass(5 * time.Second)
			s.applyWorkload(next(args("next")))
			s.pass(time.Minute)
			s.wantHistory("1 good, 2 rolling")
			away.back(s)
			s.pass(30 * time.Second)
			s.wantHistory("1 good, 2 good")
		})
	}
}
