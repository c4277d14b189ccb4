package whatif

import (
	"slices"

	"skerry.dev/coordinator/scheduler"
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Drift is what a rebalance would move, what matters most first, and what is
// where it must not be and is not moved. Of wanted workloads only.
func Drift(view *state.View, wanted func(*skerryv1.Workload) bool) (moves, held []*skerryv1.RebalanceMove) {
	rollouts := map[*skerryv1.Workload]state.Rollout{}
	of := func(p *skerryv1.Placement) *skerryv1.Workload { return view.Workload(p.GetProject(), p.GetWorkload()) }
	why := func(p *skerryv1.Placement) string {
		w := of(p)
		if w == nil || !wanted(w) {
			return "nobody asks for it"
		}
		rollout, known := rollouts[w]
		if !known {
			rollout = view.Rollout(w.GetProject(), w.GetName())
			rollouts[w] = rollout
		}
		return state.WhyNotMoved(w, p, rollout, view.Node(p.GetNode()))
	}
	better, stays := scheduler.Drift(scheduler.Input{
		Index: view.Index(), Policy: view.Policy(), Workloads: view.Workloads(), Nodes: view.Nodes(),
		Placements: view.Placements(), Images: view.Images(), Volumes: view.Volumes(),
	}, why)
	stays = slices.DeleteFunc(stays, func(m scheduler.Misplaced) bool { return !wanted(of(m.Placement)) })
	return told(better), told(stays)
}

func told(all []scheduler.Misplaced) []*skerryv1.RebalanceMove {
	var moves []*skerryv1.RebalanceMove
	for _, m := range all {
		moves = append(moves, &skerryv1.RebalanceMove{
			Project: m.Placement.GetProject(), Workload: m.Placement.GetWorkload(), Placement: m.Placement.GetName(),
			From: m.Placement.GetNode(), To: m.To, Why: m.Why, Broken: m.Broken,
		})
	}
	return moves
}
