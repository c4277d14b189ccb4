package api

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// summaryOf a rollout, in one sentence.
func summaryOf(r state.Rollout, w *skerryv1.Workload, p *skerryv1.RolloutProgress, away string) string {
	how := fmt.Sprintf("%d of %d new placements are healthy, %d old ones are left", p.GetUpdatedHealthy(), p.GetWanted(), p.GetOld())
	if away != "" {
		how += "; " + away
	}
	newest := r.Newest
	switch {
	case newest == nil:
		return ""
	case r.Done():
		return fmt.Sprintf("generation %d is good", newest.GetLastGeneration())
	case newest.GetState() == skerryv1.RevisionState_REVISION_STATE_FAILED:
		return fmt.Sprintf("the update to generation %d failed: %s", newest.GetLastGeneration(), newest.GetMessage())
	case r.Paused():
		return fmt.Sprintf("the update to generation %d is paused: %s", newest.GetLastGeneration(), how)
	case p.GetWaitsForPromotion():
		return fmt.Sprintf("the update to generation %d waits to be promoted: %d new placements are healthy beside %d old ones",
			newest.GetLastGeneration(), p.GetUpdatedHealthy(), p.GetOld())
	case newest.GetRollbackTo() != 0:
		return fmt.Sprintf("generation %d goes back to the template of generation %d: %s", newest.GetLastGeneration(), newest.GetRollbackTo(), how)
	default:
		return fmt.Sprintf("generation %d is on its way: %s", newest.GetLastGeneration(), how)
	}
}

// awayFrom names the nodes for which an update waits, because what stays on them
// can be changed nowhere else; empty for none.
func awayFrom(view *state.View, w *skerryv1.Workload, all []*skerryv1.Placement) string {
	why := map[string]string{}
	for _, p := range all {
		node := cmp.Or(p.GetNode(), state.PinnedTo(p.GetSpec()))
		if !state.Counts(p) || node == "" || !state.IsStay(w) || p.GetGeneration() == w.GetGeneration() && state.IsHealthy(p) {
			continue
		}
		if reason := state.WhyNoWork(view.Node(node), p.GetSpec()); reason != "" {
			why[node] = reason
		}
	}
	var names []string
	for _, node := range slices.Sorted(maps.Keys(why)) {
		names = append(names, "node "+node+", "+strings.TrimPrefix(why[node], "it is "))
	}
	if len(names) > maxAway {
		names = append(names[:maxAway], fmt.Sprintf("%d more", len(names)-maxAway))
	}
	if len(names) == 0 {
		return ""
	}
	return "it waits for " + strings.Join(names, "; ")
}

// maxAway nodes are named.
const maxAway = 3

// rolloutProblems of all workloads, at most so many.
func rolloutProblems(view *state.View, workloads []*skerryv1.Workload) []string {
	var found []string
	for _, w := range workloads {
		if text := rolloutProblem(view, w); text != "" && len(found) < maxProblems {
			found = append(found, text)
		}
	}
	return found
}

// rolloutProblem is what somebody should look at, and how; empty when nothing
// is.
func rolloutProblem(view *state.View, w *skerryv1.Workload) string {
	r := view.Rollout(w.GetProject(), w.GetName())
	name := w.GetName()
	if w.GetProject() != defaultProject {
		name += " -p " + w.GetProject()
	}
	if failed := wentBack(view, w, r); failed != nil {
		return fmt.Sprintf("workload %s: generation %d failed and the site went back by itself: %s: skerry history %s",
			w.GetName(), failed.GetLastGeneration(), failed.GetMessage(), name)
	}
	if r.Done() {
		return ""
	}
	p := progress(view, w)
	of := fmt.Sprintf("workload %s: %s", w.GetName(), p.GetSummary())
	switch {
	case r.Newest.GetState() == skerryv1.RevisionState_REVISION_STATE_FAILED && r.Goal() != nil:
		return of + ": skerry rollout abort " + name + " goes back"
	case r.Newest.GetState() == skerryv1.RevisionState_REVISION_STATE_FAILED:
		return of + ": skerry why " + name
	case r.Paused():
		return of + ": skerry rollout resume " + name
	case p.GetWaitsForPromotion():
		return of + ": skerry rollout promote " + name
	default:
		return ""
	}
}

// wentBack is the template that failed, so that the site went back by itself; nil
// when it did not, or once somebody declared another one.
func wentBack(view *state.View, w *skerryv1.Workload, r state.Rollout) *skerryv1.Revision {
	if !r.Newest.GetAutomatic() || r.Newest.GetState() == skerryv1.RevisionState_REVISION_STATE_FAILED {
		return nil
	}
	var failed *skerryv1.Revision
	for _, revision := range view.Revisions(w.GetProject(), w.GetName()) {
		if revision.GetState() == skerryv1.RevisionState_REVISION_STATE_FAILED {
			failed = revision
		}
	}
	return failed
}
