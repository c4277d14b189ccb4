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
	surplus := len(counted) - s.wanted()
	if surplus <= 0 || (s.wanted() > 0 && !s.settled(counted)) {
		return
	}
	slices.SortStableFunc(counted, s.keepFirst)
	for _, p := range counted[s.wanted():] {
		if !s.remove(p, fmt.Sprintf("there are %d placements, and %d are asked for", len(counted), s.wanted())) {
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
