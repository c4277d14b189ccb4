package lifecycle

import (
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// sheet is one workload with its placements as the plan leaves them, in the
// order in which the state carries a plan out: first removals, then creations.
type sheet struct {
	*planner
	w   *skerryv1.Workload
	all []*skerryv1.Placement
}

// wanted is how many placements there should be.
func (s *sheet) wanted() int { return manifest.Wanted(s.w) }

// counted are the placements that count towards the replicas.
func (s *sheet) counted() []*skerryv1.Placement {
	var counted []*skerryv1.Placement
	for _, p := range s.all {
		if state.Counts(p) {
			counted = append(counted, p)
		}
	}
	return counted
}

// mustNotRunTwice: as long as it may still run anywhere, nothing else may in
// its place.
func (s *sheet) mustNotRunTwice(p *skerryv1.Placement) bool {
	return state.IsStay(s.w) || state.IsStay(p.GetSpec())
}

// remove a placement; false when the plan is full.
func (s *sheet) remove(p *skerryv1.Placement, reason string) bool {
	if len(s.plan.GetRemove()) == maxRemovals {
		return false
	}
	s.plan.Remove = append(s.plan.Remove, &sitev1.Removal{
		Project: p.GetProject(), Placement: p.GetName(), Reason: reason, Gone: p.GetNode() == "",
	})
	s.put(p, func(next *skerryv1.Placement) { next.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP })
	return true
}

// create one more placement, in place of another unless that is nil; false
// when the plan or the site is full.
func (s *sheet) create(replaced *skerryv1.Placement) bool {
	if !s.add(&sitev1.NewPlacement{Replaces: replaced.GetName()}) {
		return false
	}
	if replaced != nil {
		s.put(replaced, func(next *skerryv1.Placement) { next.ReplacedBy = "new" })
	}
	return true
}

// add one more placement; false when the plan or the site is full.
func (s *sheet) add(part *sitev1.NewPlacement) bool {
	if len(s.plan.GetCreate()) == maxCreations || s.existing+len(s.plan.GetCreate()) >= maxPlacements {
		return false
	}
	part.Project, part.Workload, part.Generation = s.w.GetProject(), s.w.GetName(), s.w.GetGeneration()
	s.plan.Create = append(s.plan.Create, part)
	s.all = append(s.all, &skerryv1.Placement{
		Project: s.w.GetProject(), Workload: s.w.GetName(), Generation: s.w.GetGeneration(), Run: part.GetRun(),
		Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Spec: s.w,
	})
	return true
}

// put notes how the plan changes a placement. One that stops without a node
// is forgotten.
func (s *sheet) put(p *skerryv1.Placement, change func(*skerryv1.Placement)) {
	next := &skerryv1.Placement{
		Name: p.GetName(), Project: p.GetProject(), Workload: p.GetWorkload(), Node: p.GetNode(),
		Generation: p.GetGeneration(), Created: p.GetCreated(), Desired: p.GetDesired(), Spec: p.GetSpec(),
		Status: p.GetStatus(), LostSince: p.GetLostSince(), ReplacedBy: p.GetReplacedBy(),
		Run: p.GetRun(), Ended: p.GetEnded(),
	}
	change(next)
	if next.GetNode() == "" && next.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
		next = nil
	}
	s.changed[placementKey(p)] = next
	kept := s.all[:0:0]
	for _, other := range s.all {
		switch {
		case other != p:
			kept = append(kept, other)
		case next != nil:
			kept = append(kept, next)
		}
	}
	s.all = kept
}

// addMissing fills up to the replicas.
func (s *sheet) addMissing() {
	for range state.Room(s.w, s.all) {
		if !s.create(nil) {
			return
		}
	}
}
