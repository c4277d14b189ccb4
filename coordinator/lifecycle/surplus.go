package lifecycle

import (
	"cmp"
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// removeSurplus ends what is more than the replicas: after a cut has healed,
// or because fewer are asked for. The healthy ones are kept before others, of
// these the ones of the present template, of these the ones that are there the
// longest. What is on a node that is drained goes before others as healthy.
func (s *sheet) removeSurplus() {
	counted := s.counted()
	if !s.rollout.Beside(s.w) {
		s.trim(counted, s.wanted()+s.rollout.Surge(s.w, s.all))
		return
	}
	// The new ones beside the old ones are none of these.
	isOld := func(p *skerryv1.Placement) bool { return !s.isCurrent(p) }
	s.trim(slices.DeleteFunc(slices.Clone(counted), isOld), s.rollout.Surge(s.w, s.all))
	s.trim(slices.DeleteFunc(slices.Clone(counted), s.isCurrent), s.wanted())
}

// trim some placements to as many as there may be.
func (s *sheet) trim(some []*skerryv1.Placement, most int) {
	if len(some) <= most || (s.wanted() > 0 && !s.settled(some)) {
		return
	}
	slices.SortStableFunc(some, s.keepFirst)
	for _, p := range some[most:] {
		if !s.remove(p, fmt.Sprintf("there are %d placements, and %d are asked for", len(some), most)) {
			return
		}
	}
}

func (s *sheet) keepFirst(a, b *skerryv1.Placement) int {
	return cmp.Or(
		-compareTruth(state.IsHealthy(a), state.IsHealthy(b)),
		compareTruth(s.lost(a), s.lost(b)),
		compareTruth(s.leaves(a), s.leaves(b)),
		-compareTruth(s.isCurrent(a), s.isCurrent(b)),
		-compareTruth(s.rollout.IsLive(s.w, a), s.rollout.IsLive(s.w, b)),
		-compareTruth(s.rollout.IsStable(a), s.rollout.IsStable(b)),
		-compareTruth(a.GetNode() != "", b.GetNode() != ""),
		a.GetCreated().AsTime().Compare(b.GetCreated().AsTime()),
		// web-9 is older than web-10.
		cmp.Compare(len(a.GetName()), len(b.GetName())),
		cmp.Compare(a.GetName(), b.GetName()),
	)
}

// isCurrent: it runs the present template.
func (s *sheet) isCurrent(p *skerryv1.Placement) bool {
	return p.GetGeneration() == s.w.GetGeneration()
}

func compareTruth(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}
