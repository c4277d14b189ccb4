package lifecycle

import (
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const recreate = "recreate"

// update ends placements of old templates, so that others take their place.
// What is on a lost node is replaced when that is, not before.
func (s *sheet) update() {
	counted := s.counted()
	var old []*skerryv1.Placement
	for _, p := range counted {
		if !s.isCurrent(p) && !s.lost(p) {
			old = append(old, p)
		}
	}
	if len(old) == 0 || !s.settled(counted) {
		return
	}
	if s.w.GetUpdate().GetStrategy() == recreate {
		s.retire(old)
		return
	}
	s.roll(counted, old)
}

// roll ends a few, so that never more than maxUnavailable are missing and as
// many at most are on their way. An update that does not become healthy goes no
// further than that.
func (s *sheet) roll(counted, old []*skerryv1.Placement) {
	limit := max(1, int(s.w.GetUpdate().GetMaxUnavailable()))
	healthy, onTheirWay := 0, s.wanted()-len(counted)
	for _, p := range counted {
		switch {
		case state.IsHealthy(p):
			healthy++
		case s.isCurrent(p):
			onTheirWay++
		}
	}
	room, spare := max(0, limit-onTheirWay), max(0, healthy-(s.wanted()-limit))
	var first, then []*skerryv1.Placement
	for _, p := range old {
		if state.IsHealthy(p) {
			then = append(then, p)
		} else {
			first = append(first, p)
		}
	}
	next := slices.Concat(first, then[:min(spare, len(then))])
	s.retire(next[:min(room, len(next))])
}

func (s *sheet) retire(old []*skerryv1.Placement) {
	for _, p := range old {
		if !s.remove(p, fmt.Sprintf("generation %d replaces generation %d", s.w.GetGeneration(), p.GetGeneration())) {
			return
		}
	}
}

// hold keeps new placements of a workload that is recreated from a node until
// all old ones are gone.
func (s *sheet) hold() {
	if s.w.GetUpdate().GetStrategy() != recreate {
		return
	}
	left := slices.ContainsFunc(s.all, func(p *skerryv1.Placement) bool {
		w := s.nodes[p.GetNode()]
		return !s.isCurrent(p) && w != nil && !w.isLost()
	})
	if !left {
		return
	}
	for _, p := range s.all {
		if p.GetNode() == "" && p.GetName() != "" {
			s.held[placementKey(p)] = "all are replaced at once: it waits until the old ones are gone"
		}
	}
}
