package lifecycle

import (
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

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
	if len(old) == 0 || s.rollout.Paused() || s.rollout.Beside(s.w) || !s.settled(counted) {
		return
	}
	switch s.w.GetUpdate().GetStrategy() {
	case manifest.Recreate:
		s.retire(old)
	case manifest.BlueGreen:
		s.roll(counted, old, len(old))
	default:
		s.roll(counted, old, s.mayRoll(counted))
	}
}

// mayRoll is how many old ones may go at once, so that as many at most are
// missing or on their way. An update that does not become healthy goes no
// further than that.
func (s *sheet) mayRoll(counted []*skerryv1.Placement) int {
	onTheirWay := s.wanted() - len(counted)
	for _, p := range counted {
		if s.isCurrent(p) && !s.works(p) {
			onTheirWay++
		}
	}
	return max(0, state.MayMiss(s.w)-onTheirWay)
}

// roll ends a few, those first that are not healthy anyway; never more healthy
// ones than the workload can spare.
func (s *sheet) roll(counted, old []*skerryv1.Placement, room int) {
	var proven, first, then []*skerryv1.Placement
	for _, p := range counted {
		if !s.isCurrent(p) || s.works(p) {
			proven = append(proven, p)
		}
	}
	for _, p := range old {
		if state.IsHealthy(p) {
			then = append(then, p)
		} else {
			first = append(first, p)
		}
	}
	slices.SortStableFunc(then, func(a, b *skerryv1.Placement) int { return compareTruth(s.rollout.IsStable(a), s.rollout.IsStable(b)) })
	spare := state.MaySpare(s.w, proven)
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

// holdBeside keeps placements of the newest template from a node that are more
// than may run beside the old ones: what they were to replace is back.
// removeSurplus ends some when it is known which of them work.
func (s *sheet) holdBeside() {
	var waiting []*skerryv1.Placement
	for _, p := range s.counted() {
		if p.GetNode() == "" && p.GetName() != "" && s.isCurrent(p) {
			waiting = append(waiting, p)
		}
	}
	free := s.rollout.FreeBeside(s.w, s.all)
	if len(waiting) <= free {
		return
	}
	slices.SortStableFunc(waiting, s.keepFirst)
	for _, p := range waiting[free:] {
		s.held[placementKey(p)] = "as many of the new template run as may before it is promoted"
	}
}

// isOfAnother template, also one of a workload that bore the name before: its
// generations say nothing.
func (s *sheet) isOfAnother(p *skerryv1.Placement) bool {
	stops := p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP
	return !s.isCurrent(p) || stops && !state.SameTemplate(p.GetSpec(), s.w)
}

// hold keeps new placements of a workload that is recreated from a node until
// all old ones are gone, and old ones while anything is there: it may be new.
func (s *sheet) hold() {
	if s.w.GetUpdate().GetStrategy() != manifest.Recreate {
		return
	}
	left, there := false, false
	for _, p := range s.all {
		if w := s.nodes[p.GetNode()]; w != nil && !w.isLost() {
			left, there = left || s.isOfAnother(p), true
		}
	}
	for _, p := range s.all {
		if p.GetNode() == "" && p.GetName() != "" && (left || there && !s.isCurrent(p)) {
			s.held[placementKey(p)] = "all are replaced at once: it waits until the old ones are gone"
		}
	}
}
