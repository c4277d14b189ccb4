package lifecycle

import (
	"slices"

	"skerry.dev/coordinator/scheduler"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// schedule finds nodes for what is pending already: new placements have no
// names yet.
func (p *planner) schedule(workloads []*skerryv1.Workload, placements []*skerryv1.Placement) {
	in := scheduler.Input{Index: p.view.Index(), Workloads: workloads, Images: p.view.Images()}
	var doubtful bool
	in.Nodes, doubtful = p.trusted()
	in.Placements = p.placeable(placements)
	found := scheduler.Schedule(in)
	p.plan.Assign = found.Assign
	// What finds no node while others are in doubt has no reason yet.
	if !doubtful {
		p.plan.Postpone = append(p.plan.Postpone, found.Postpone...)
		p.plan.Evict = found.Evict
	}
}

// placeable leaves out what the plan forgets, and what must wait.
func (p *planner) placeable(placements []*skerryv1.Placement) []*skerryv1.Placement {
	if len(p.changed) == 0 && len(p.held) == 0 {
		return placements
	}
	var left []*skerryv1.Placement
	for _, placement := range placements {
		if changed, ok := p.changed[placementKey(placement)]; ok {
			placement = changed
		}
		if placement == nil {
			continue
		}
		if why, ok := p.held[placementKey(placement)]; ok {
			p.postpone(placement, why)
			continue
		}
		left = append(left, placement)
	}
	return left
}

// trusted are the nodes that are not in doubt: nothing new goes to one that is
// just being called. doubtful tells that there are others, so that what finds
// no node has no reason yet.
func (p *planner) trusted() (trusted []*skerryv1.Node, doubtful bool) {
	all := p.view.Nodes()
	trusted = slices.DeleteFunc(slices.Clone(all), func(n *skerryv1.Node) bool {
		w := p.nodes[n.GetName()]
		return w != nil && !w.isLost() && w.suspected(p.now)
	})
	return trusted, len(trusted) < len(all)
}

func (p *planner) postpone(placement *skerryv1.Placement, why string) {
	decision := &skerryv1.Decision{Index: p.view.Index(), Summary: why}
	if len(p.plan.GetPostpone()) == maxHeld || state.SameDecision(placement.GetDecision(), decision) {
		return
	}
	p.plan.Postpone = append(p.plan.Postpone, &sitev1.Postponement{
		Project: placement.GetProject(), Placement: placement.GetName(), Decision: decision,
	})
}
