package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestLifeOfAWorkload(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("web", 2)))
	if rejected := s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("web", 1), create("web", 1), create("web", 1)}}); rejected != 1 {
		t.Errorf("%d parts were rejected, want the third replica of two", rejected)
	}
	s.wantNames("web", "web-1", "web-2")
	if rejected := s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign("web-1", "n1"), assign("web-2", "n2")}}); rejected != 0 {
		t.Errorf("%d assignments were rejected", rejected)
	}
	p := s.store.View().Placement("default", "web-1")
	if p.GetNode() != "n1" || p.GetImageDigest() != testDigest("web1") || p.GetStatus().GetPhase() != skerryv1.Phase_PHASE_ASSIGNED {
		t.Errorf("web-1 is %v", p)
	}
	s.report("n1", "web-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: 1}, false)
	if !IsHealthy(s.store.View().Placement("default", "web-1")) {
		t.Error("web-1 runs but does not count as healthy")
	}
	s.ok(deleteEntry("Workload", "web"))
	if s.store.View().Workload("default", "web") != nil {
		t.Error("the deleted workload is still there")
	}
	s.wantNames("web", "web-1", "web-2")
	s.report("n1", "web-1", nil, true)
	s.wantNames("web", "web-2")
	s.ok(applyEntry(testWorkload("web", 1)))
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("web", 1)}})
	s.wantNames("web", "web-2", "web-3")
}

func TestAskingForAnIdentityMakesPlacementsAnew(t *testing.T) {
	s := newSite(t, 1)
	s.ok(applyEntry(testWorkload("web", 1)))
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("web", 1)}})
	s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign("web-1", "n1")}})
	asks := testWorkload("web", 1)
	asks.Identity = true
	s.ok(applyEntry(asks))
	if p := s.store.View().Placement("default", "web-1"); p.GetGeneration() != 1 || p.GetSpec().GetIdentity() {
		t.Errorf("web-1, which was made without, is of generation %d, identity %v", p.GetGeneration(), p.GetSpec().GetIdentity())
	}
	if got := s.store.View().Workload("default", "web"); got.GetGeneration() != 2 || !got.GetIdentity() {
		t.Errorf("the workload is %v", got)
	}
}
