package lifecycle

import (
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"skerry.dev/coordinator/scheduler"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// schedule finds nodes for what is pending already, and for what this plan makes
// that may have one at once.
func (p *planner) schedule(workloads []*skerryv1.Workload, placements []*skerryv1.Placement) {
	doubted := p.doubted()
	left := p.placeable(placements)
	now := waits{placing: p.view.PlacingIndex(), doubted: strings.Join(doubted, " "), held: p.sumHeld()}
	if len(p.changed) == 0 && len(p.fresh) == 0 && p.waits == now {
		return // what waits, waits for the same reasons
	}
	found := scheduler.Schedule(scheduler.Input{
		Index: p.view.Index(), Workloads: workloads, Images: p.view.Images(), Volumes: p.view.Volumes(), Nodes: p.trusted(doubted), Placements: append(slices.Clip(left), p.unborn()...),
		Policy: p.view.Policy(),
	})
	p.waits = waits{}
	if len(found.Assign)+len(found.Postpone)+len(found.Evict) == 0 && len(p.changed) == 0 && len(p.fresh) == 0 {
		p.waits = now
	}
	found = p.bindAtOnce(found)
	p.plan.Assign = found.Assign
	// What finds no node while others are in doubt has no reason yet.
	if len(doubted) == 0 {
		p.plan.Postpone = append(p.plan.Postpone, found.Postpone...)
		p.plan.Evict = found.Evict
	}
}

// waits is the moment after which all that is pending had its reason: it is
// looked at again when something else decides where placements can go.
type waits struct {
	// placing is that of the state, at least 1 once there is anything.
	placing uint64
	doubted string
	held    uint64
}

// sumHeld tells different sets of what is held apart, and different reasons.
func (p *planner) sumHeld() uint64 {
	sum := uint64(0)
	for of, why := range p.held {
		sum += xxhash.Sum64String(of + "\x00" + why)
	}
	return sum
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

// doubted are the nodes that are just being called: nothing new goes to them, and
// what finds no node meanwhile has no reason yet.
func (p *planner) doubted() []string {
	var doubted []string
	for n := range p.view.AllNodes() {
		if w := p.nodes[n.GetName()]; w != nil && !w.isLost() && w.suspected(p.now) {
			doubted = append(doubted, n.GetName())
		}
	}
	return doubted
}

// trusted are all other nodes.
func (p *planner) trusted(doubted []string) []*skerryv1.Node {
	return slices.DeleteFunc(p.view.Nodes(), func(n *skerryv1.Node) bool {
		_, found := slices.BinarySearch(doubted, n.GetName())
		return found
	})
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
