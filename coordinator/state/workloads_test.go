package state

import (
	"slices"
	"strings"
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

func TestAnImageThatMayStartAgainIsNotDeleted(t *testing.T) {
	s := newSite(t, 1)
	second := func(w *skerryv1.Workload) { w.Container.Image = "site.local/web:2" }
	s.ok(applyEntry(testWorkload("web", 1)))
	s.want(0, creates(create("web", 1)))
	s.want(0, assigns(assign("web-1", "n1")))
	s.ok(applyEntry(testWorkload("web", 1, second)))
	if outcome := s.refused("conflict", deleteEntry("Image", "site.local/web:1")); !strings.Contains(outcome.GetError(), "placement web-1 uses it") {
		t.Errorf("%q", outcome.GetError())
	}
	s.want(0, removes(remove("web-1")))
	s.ok(deleteEntry("Image", "site.local/web:1"))
}

// TestWhatHasEndedHoldsNothing: only its logs are there.
func TestWhatHasEndedHoldsNothing(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("load", 1, completes)))
	s.want(0, creates(&sitev1.NewPlacement{Project: "default", Workload: "load", Generation: 1, Run: 1}))
	s.want(0, assigns(assign("load-1", "n2")))
	s.refused("conflict", deleteEntry("Node", "n2"))
	s.report("n2", "load-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_STOPPED, Revision: 1}, false)
	s.ok(applyEntry(testWorkload("load", 1, completes, func(w *skerryv1.Workload) { w.Container.Image = "site.local/web:2" })))
	s.ok(deleteEntry("Image", "site.local/web:1"))
	s.ok(deleteEntry("Node", "n2"))
	if p := s.store.View().Placement("default", "load-1"); p != nil {
		t.Errorf("%s is still there", p.GetName())
	}
}

func TestPlacementsHaveTheLabelsThatTheirWorkloadHasNow(t *testing.T) {
	s := newSite(t, 1)
	s.ok(applyEntry(testWorkload("web", 2)))
	s.want(0, creates(create("web", 1), create("web", 1)))
	labels := func() (all []string) {
		for _, p := range s.store.View().PlacementsOf("default", "web") {
			all = append(all, p.GetLabels()["frozen"])
		}
		return all
	}
	frozen := testWorkload("web", 2)
	frozen.Labels = map[string]string{"frozen": "yes"}
	s.ok(applyEntry(frozen))
	if got := labels(); !slices.Equal(got, []string{"yes", "yes"}) || s.store.View().Workload("default", "web").GetGeneration() != 1 {
		t.Errorf("they have %v, or the workload is made anew", got)
	}
	s.ok(applyEntry(testWorkload("web", 2)))
	if got := labels(); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("they keep %v", got)
	}
	s.restart()
}
