package lifecycle

import (
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// holdAfter keeps new placements from a node until what they wait for is there.
// What has a node runs on, whatever becomes of that.
func (s *sheet) holdAfter() {
	if len(s.w.GetAfter()) == 0 {
		return
	}
	why, known := "", false
	for _, p := range s.all {
		if p.GetNode() != "" || p.GetName() == "" {
			continue
		}
		if !known {
			why, known = state.WaitsFor(s.w, s.inProject), true
		}
		if why != "" {
			s.held[placementKey(p)] = why
		}
	}
}

func (s *sheet) inProject(name string) (*skerryv1.Workload, []*skerryv1.Placement) {
	return s.view.Workload(s.w.GetProject(), name), s.view.PlacementsOf(s.w.GetProject(), name)
}
