package sim

import (
	"slices"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// awayAt notes on which nodes nobody can say what runs, as of this state.
func (w *world) noteAway(view *state.View) {
	for _, n := range view.Nodes() {
		if n.GetState() != skerryv1.NodeState_NODE_STATE_READY {
			w.awayAt[n.GetName()] = view.Index()
		}
	}
}

// judgeBeside: of what is recreated a placement gets a node when nothing of
// another template is left on nodes in reach.
func (w *world) judgeBeside(plan *sitev1.Plan, before, after *state.View) {
	for _, p := range placed(before, after) {
		if p.GetWorkload() != phoenix {
			continue
		}
		var others []string
		for _, other := range before.PlacementsOf(project, phoenix) {
			if other.GetNode() == "" || sameTemplate(p, other) {
				continue
			}
			if w.awayAt[other.GetNode()] >= plan.GetBaseIndex() {
				w.besides[[2]string{p.GetName(), other.GetName()}] = true
				continue
			}
			others = append(others, other.GetName()+" on "+other.GetNode())
		}
		w.violate(check.Beside(p.GetName(), others))
	}
}

// judgeRecreated looks at what really runs where one that is recreated starts.
func (w *world) judgeRecreated(name string) {
	p := w.newest.Placement(project, name)
	if p == nil {
		return // it is from before, on a node that was long away
	}
	var others []string
	for _, h := range w.hosts {
		for id := range h.machine.running {
			if h.machine.workloads[id] != phoenix {
				continue
			}
			other := w.newest.Placement(project, id[len(project)+1:])
			if other == nil || sameTemplate(p, other) || w.besides[[2]string{name, other.GetName()}] || w.besides[[2]string{other.GetName(), name}] {
				continue
			}
			others = append(others, id+" on "+h.name)
		}
	}
	slices.Sort(others)
	w.violate(check.Beside(name, others))
}
