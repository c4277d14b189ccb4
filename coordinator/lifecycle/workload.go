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
	// rollout of its newest template, and what was seen of it; nil when it is
	// done.
	rollout state.Rollout
	watch   *rolloutWatch
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
func (s *sheet) mustNotRunTwice(p *skerryv1.Placement) bool { return state.MustNotRunTwice(s.w, p) }

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

// create one more placement, in place of another unless that is nil; of the
// newest template, or of the stable one. False when the plan or the site is
// full.
func (s *sheet) create(replaced *skerryv1.Placement, stable bool) bool {
	if !s.add(&sitev1.NewPlacement{Replaces: replaced.GetName(), Stable: stable}) {
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
	if s.mayBindAtOnce(part) {
		s.fresh = append(s.fresh, len(s.plan.GetCreate())-1)
	}
	generation := s.w.GetGeneration()
	if part.GetStable() {
		generation = s.rollout.Stable.GetLastGeneration()
	}
	s.all = append(s.all, &skerryv1.Placement{
		Project: s.w.GetProject(), Workload: s.w.GetName(), Generation: generation, Run: part.GetRun(),
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
		Run: p.GetRun(), Ended: p.GetEnded(), Lapsed: p.GetLapsed(),
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

// addMissing fills up to the replicas, and to what an update may have beside
// them: with as many of the newest template as it is trusted with, the rest with
// the stable one.
func (s *sheet) addMissing() {
	room := state.Room(s.w, s.rollout, s.all)
	if room == 0 {
		return
	}
	ahead := s.ahead()
	for range min(room, max(0, ahead)) {
		if !s.create(nil, false) {
			return
		}
	}
	for range min(room-max(0, ahead), s.rollout.Behind(s.w, s.all)) {
		if !s.create(nil, true) {
			return
		}
	}
}

// followsStable: what takes the place of this one has the stable template,
// because the newest one is not proven.
func (s *sheet) followsStable(p *skerryv1.Placement) bool {
	return !s.isCurrent(p) && !s.rollout.Done() && s.rollout.Goal() != nil && s.ahead() <= 0
}

// ahead is how many more placements may have the newest template.
func (s *sheet) ahead() int {
	ahead := s.rollout.Ahead(s.w, s.all, s.works)
	for _, p := range s.counted() {
		if s.isCurrent(p) {
			ahead--
		}
	}
	return ahead
}
