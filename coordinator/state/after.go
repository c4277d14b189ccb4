package state

import (
	"fmt"
	"slices"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// checkAfter refuses workloads that wait for what there is not, or in a circle
// for themselves. It looks when all of an entry is there, so that they may come
// together.
func (x *tx) checkAfter(given []*skerryv1.Resource) error {
	for _, resource := range given {
		w := resource.GetWorkload()
		about := "Workload/" + w.GetName()
		for i, name := range w.GetAfter() {
			if workloads.get(x.rows, key(w.GetProject(), name)) == nil {
				return problem.New(problem.NotFound, about, "it waits for %s, and project %s has no such workload", bounded(name, maxName), w.GetProject()).
					WithField(fmt.Sprintf("after[%d]", i)).WithHint("apply %s before, or in the same manifest", bounded(name, maxName))
			}
		}
		if circle := x.circle(w); circle != nil {
			return problem.New(problem.Invalid, about, "workloads wait for each other in a circle: %s", strings.Join(circle, " after ")).
				WithField("after").WithHint("one of them must be able to start first")
		}
	}
	return nil
}

// maxCircle names are told of a circle.
const maxCircle = 16

// circle that begins and ends with a workload, nil when there is none.
func (x *tx) circle(of *skerryv1.Workload) []string {
	seen := map[string]bool{}
	type step struct {
		name string
		from *step
	}
	for next := []*step{{name: of.GetName()}}; len(next) > 0; next = next[1:] {
		at := next[0]
		for _, name := range workloads.get(x.rows, key(of.GetProject(), at.name)).GetWorkload().GetAfter() {
			if name == of.GetName() {
				names := []string{name}
				for ; at != nil && len(names) < maxCircle; at = at.from {
					names = append(names, at.name)
				}
				slices.Reverse(names)
				return names
			}
			if !seen[name] {
				seen[name] = true
				next = append(next, &step{name, at})
			}
		}
	}
	return nil
}

// tellWaiting says that what others wait for is gone.
func (x *tx) tellWaiting(project, name string) {
	for _, record := range workloads.list(x.rows) {
		w := record.GetWorkload()
		if w.GetProject() == project && slices.Contains(w.GetAfter(), name) {
			x.warn(aboutWorkload(w), "DependencyDeleted", "%s, which it waits for, was deleted: what runs goes on, new placements wait", name)
		}
	}
}

// WaitsFor says what keeps new placements of a workload from a node, given each
// workload of its project and its placements; empty for nothing.
func WaitsFor(w *skerryv1.Workload, find func(name string) (*skerryv1.Workload, []*skerryv1.Placement)) string {
	for _, name := range w.GetAfter() {
		other, all := find(name)
		if other == nil {
			return fmt.Sprintf("it waits for %s, which does not exist", name)
		}
		if why := unready(other, all); why != "" {
			return fmt.Sprintf("it waits for %s: %s", name, why)
		}
	}
	return ""
}

// unready says why others cannot start after a workload yet; empty when they
// can. Of a job one run must have succeeded, and none since have failed.
func unready(w *skerryv1.Workload, all []*skerryv1.Placement) string {
	if manifest.IsJob(w) {
		for _, run := range slices.Backward(w.GetStatus().GetRuns()) {
			switch run.GetState() {
			case skerryv1.RunState_RUN_STATE_SUCCEEDED:
				return ""
			case skerryv1.RunState_RUN_STATE_FAILED:
				return fmt.Sprintf("its run %d has failed", run.GetNumber())
			}
		}
		return "it has not completed yet"
	}
	wanted := manifest.Wanted(w)
	least, err := manifest.Available(w.GetMinAvailable(), wanted)
	if err != nil || w.GetMinAvailable() == "" {
		least = wanted
	}
	healthy := 0
	for _, p := range all {
		if IsHealthy(p) {
			healthy++
		}
	}
	if healthy >= min(least, wanted) {
		return ""
	}
	return fmt.Sprintf("%d of %d placements are healthy", healthy, min(least, wanted))
}

// StartOrder puts workloads into groups, each of which waits only for those
// before it; by project and name within a group. Stopping goes the other way. What
// waits for something that is not among them does not wait.
func StartOrder(all []*skerryv1.Workload) [][]*skerryv1.Workload {
	left := map[string]*skerryv1.Workload{}
	for _, w := range all {
		left[key(w.GetProject(), w.GetName())] = w
	}
	var groups [][]*skerryv1.Workload
	for len(left) > 0 {
		var group []*skerryv1.Workload
		for _, w := range left {
			waits := slices.ContainsFunc(w.GetAfter(), func(name string) bool { return left[key(w.GetProject(), name)] != nil })
			if !waits {
				group = append(group, w)
			}
		}
		if len(group) == 0 { // a circle, which the state does not take
			for _, w := range left {
				group = append(group, w)
			}
		}
		slices.SortFunc(group, func(a, b *skerryv1.Workload) int {
			return strings.Compare(key(a.GetProject(), a.GetName()), key(b.GetProject(), b.GetName()))
		})
		for _, w := range group {
			delete(left, key(w.GetProject(), w.GetName()))
		}
		groups = append(groups, group)
	}
	return groups
}
