package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Rollout is how the newest template of a workload reaches its placements. The
// zero Rollout is of a workload that there is not.
type Rollout struct {
	// Newest template of the workload.
	Newest *skerryv1.Revision
	// Stable is the last good template before it, nil for none; it may be the
	// same.
	Stable *skerryv1.Revision
	// Live is the last template before it that served; nil for none. Of blue and
	// green it serves until the newest one is promoted.
	Live *skerryv1.Revision

	record *sitev1.RevisionRecord
}

func rolloutOf(record *sitev1.RevisionRecord) Rollout {
	all := record.GetRevisions()
	if len(all) == 0 {
		return Rollout{}
	}
	r := Rollout{Newest: all[len(all)-1], record: record}
	for _, earlier := range all[:len(all)-1] {
		proven := earlier.GetState() == skerryv1.RevisionState_REVISION_STATE_GOOD
		if proven {
			r.Stable = earlier
		}
		if proven || earlier.GetPromoted() {
			r.Live = earlier
		}
	}
	return r
}

// Rollout of the workload's newest template.
func (v *View) Rollout(project, workload string) Rollout {
	return rolloutOf(revisions.get(v.rows, key(project, workload)))
}

func (x *tx) rollout(k string) Rollout { return rolloutOf(revisions.get(x.rows, k)) }

// Done: the newest template is good, so placements of others are left over.
func (r Rollout) Done() bool {
	return r.Newest == nil || r.Newest.GetState() == skerryv1.RevisionState_REVISION_STATE_GOOD
}

// Paused: nothing that works is changed until somebody resumes it.
func (r Rollout) Paused() bool { return !r.Done() && r.Newest.GetPaused() }

// Beside: new placements run beside the old ones, which stay until the new
// template is promoted.
func (r Rollout) Beside(w *skerryv1.Workload) bool {
	switch {
	case r.Done() || r.Newest.GetPromoted():
		return false
	case isBlueGreen(w):
		return r.Live != nil && !SameTemplate(r.Live.GetTemplate(), r.Newest.GetTemplate())
	default:
		return w.GetUpdate().GetStrategy() == manifest.Canary && r.Goal() != nil
	}
}

// target is how many new placements run beside the old ones.
func (r Rollout) target(w *skerryv1.Workload) int {
	if w.GetUpdate().GetStrategy() == manifest.Canary {
		return min(manifest.Wanted(w), max(1, int(w.GetUpdate().GetCanary())))
	}
	return manifest.Wanted(w)
}

// Ahead is how many placements of the newest template there may be now, given
// all that carry the workload's name. What is missing beyond that gets the
// stable template, because the newest one is not proven. works tells which of
// them count as healthy.
func (r Rollout) Ahead(w *skerryv1.Workload, all []*skerryv1.Placement, works func(*skerryv1.Placement) bool) int {
	wanted := manifest.Wanted(w)
	if r.Done() || IsStay(w) || (r.Goal() == nil && !r.Beside(w)) {
		return wanted
	}
	present, working := 0, 0
	for _, p := range all {
		if Counts(p) && p.GetGeneration() == w.GetGeneration() {
			present++
			if works(p) {
				working++
			}
		}
	}
	switch {
	case r.Paused():
		return min(wanted, present)
	case w.GetUpdate().GetStrategy() == manifest.Recreate:
		return wanted
	case r.Beside(w):
		return r.target(w)
	default:
		return min(wanted, working+max(1, int(w.GetUpdate().GetMaxUnavailable()+w.GetUpdate().GetMaxSurge())))
	}
}

// FreeBeside is how many more placements of the newest template may get a node
// now, given all that carry the workload's name. There may be more without one:
// those that waited when it was declared, and what was to replace others that are
// back.
func (r Rollout) FreeBeside(w *skerryv1.Workload, all []*skerryv1.Placement) int {
	if !r.Beside(w) {
		return maxPlacements
	}
	free := r.target(w)
	for _, p := range all {
		if Counts(p) && p.GetNode() != "" && p.GetGeneration() == w.GetGeneration() {
			free--
		}
	}
	return max(0, free)
}

// Surge is how many placements more than asked for there may be now, given all
// that carry the workload's name.
func (r Rollout) Surge(w *skerryv1.Workload, all []*skerryv1.Placement) int {
	if r.Done() || IsStay(w) || w.GetUpdate().GetStrategy() == manifest.Recreate {
		return 0
	}
	if r.Beside(w) {
		return r.target(w)
	}
	old := 0
	for _, p := range all {
		if Counts(p) && p.GetGeneration() != w.GetGeneration() {
			old++
		}
	}
	return min(old, int(w.GetUpdate().GetMaxSurge()))
}

// Goal of going back: the last good template, if it is another one than the
// newest; nil when there is none. Without it nothing is at stake: the newest is
// all there is, or known.
func (r Rollout) Goal() *skerryv1.Revision {
	if r.Stable == nil || SameTemplate(r.Stable.GetTemplate(), r.Newest.GetTemplate()) {
		return nil
	}
	return r.Stable
}

// stableSpec is the workload with its last good template, nil when there is
// none.
func (r Rollout) stableSpec(w *skerryv1.Workload) *skerryv1.Workload {
	stable := r.Goal()
	if stable == nil {
		return nil
	}
	spec := withTemplate(w, stable.GetTemplate())
	spec.Generation = stable.GetLastGeneration()
	return spec
}

// Behind is how many placements of the stable template may be added now, given
// all that carry the workload's name: beside a canary as many as are asked for,
// else what the new ones leave open.
func (r Rollout) Behind(w *skerryv1.Workload, all []*skerryv1.Placement) int {
	if r.Done() || r.Goal() == nil {
		return 0
	}
	beside, room := r.Beside(w), manifest.Wanted(w)
	for _, p := range all {
		if Counts(p) && (!beside || p.GetGeneration() != w.GetGeneration()) {
			room--
		}
	}
	return max(0, room)
}

// MaySpare is how many healthy placements of a workload an update may end now,
// given all that carry its name: both its maxUnavailable and its minAvailable
// hold.
func MaySpare(w *skerryv1.Workload, all []*skerryv1.Placement) int {
	healthy := 0
	for _, p := range all {
		if IsHealthy(p) {
			healthy++
		}
	}
	return max(0, min(Spare(w, all, Unlimited), healthy-(manifest.Wanted(w)-MayMiss(w))))
}

// MayMiss is how many placements may be missing while the workload is updated.
func MayMiss(w *skerryv1.Workload) int {
	u := w.GetUpdate()
	if u.GetMaxUnavailable() == 0 && u.GetMaxSurge() == 0 {
		return 1
	}
	return int(u.GetMaxUnavailable())
}

// Serves tells whether a placement does its work for others: it is healthy, and
// of a blue-green update it has the colour that is live.
func (v *View) Serves(p *skerryv1.Placement) bool {
	if !IsHealthy(p) {
		return false
	}
	return v.Rollout(p.GetProject(), p.GetWorkload()).IsLive(v.Workload(p.GetProject(), p.GetWorkload()), p)
}

// IsLive: of a blue-green update it has the colour that is live; of all others any
// template is.
func (r Rollout) IsLive(w *skerryv1.Workload, p *skerryv1.Placement) bool {
	switch {
	case !isBlueGreen(w):
		return true
	case r.Beside(w):
		return r.runs(p, r.Live)
	default:
		return r.runs(p, r.Newest) // others are left over
	}
}

// IsStable tells whether a placement runs the last good template.
func (r Rollout) IsStable(p *skerryv1.Placement) bool { return r.runs(p, r.Stable) }

// runs tells whether a placement runs the template of a revision, which another
// one may have had before.
func (r Rollout) runs(p *skerryv1.Placement, revision *skerryv1.Revision) bool {
	its := revisionOf(r.record, p.GetGeneration())
	return its != nil && revision != nil && (its == revision || SameTemplate(its.GetTemplate(), revision.GetTemplate()))
}
