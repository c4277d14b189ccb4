package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// TestOnlyWhatMattersLessGivesWay lets web-1 on n2 give way to main-1.
func TestOnlyWhatMattersLessGivesWay(t *testing.T) {
	ranks := func(priority uint32) func(*skerryv1.Workload) {
		return func(w *skerryv1.Workload) { w.Priority = priority }
	}
	stay := func(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{Mode: manifest.Stay} }
	for _, test := range []struct {
		name      string
		web, main func(*skerryv1.Workload)
		since     func(*site)
		rejected  uint32
	}{
		{"it does", ranks(1), ranks(2), func(*site) {}, 0},
		{"not when its workload needs it", func(w *skerryv1.Workload) { w.Priority, w.MinAvailable = 1, "1" }, ranks(2), func(s *site) {
			s.report("n2", "web-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: 1}, false)
		}, 1},
		{"not to the same priority", ranks(2), ranks(2), func(*site) {}, 1},
		{"not when it stays", stay, ranks(2), func(*site) {}, 1},
		{"not to what has a node", ranks(1), ranks(2), func(s *site) { s.want(0, assigns(assign("main-1", "n1"))) }, 1},
		{"not to what was deleted", ranks(1), ranks(2), func(s *site) { s.ok(deleteEntry("Workload", "main")) }, 1},
		{"not when it stops already", ranks(1), ranks(2), func(s *site) { s.ok(deleteEntry("Placement", "web-1")) }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, 2)
			s.ok(applyEntry(testWorkload("web", 1, test.web)))
			s.ok(applyEntry(testWorkload("main", 1, test.main)))
			s.want(0, creates(create("web", 1), create("main", 1)))
			s.want(0, assigns(assign("web-1", "n2")))
			test.since(s)
			s.want(test.rejected, &sitev1.Plan{Evict: []*sitev1.Eviction{{
				Project: "default", Placement: "web-1", ForProject: "default", ForPlacement: "main-1",
			}}})
			stops := s.store.View().Placement("default", "web-1").GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP
			if test.rejected == 0 && !stops {
				t.Error("it does not give way")
			}
		})
	}
}
