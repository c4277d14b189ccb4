package lifecycle

import (
	"cmp"
	"slices"
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// maxLapses in one plan.
const maxLapses = 512

// Leases are what the coordinator has granted in this term.
type Leases interface {
	// Lapse makes sure that nobody holds a placement's lease, and that none will be
	// granted for it in this term. It returns how long that still takes; 0 when it
	// is so.
	Lapse(project, placement string, lease, now time.Duration) time.Duration
	// Lapsed are the placements (project and name, sorted) of which Lapse has made
	// sure.
	Lapsed() [][2]string
}

// KnowLeases tells the core what was granted. Without it the core waits for as
// long as a lease lasts that was granted when the term began.
func (c *Core) KnowLeases(leases Leases) { c.leases = leases }

// lapse ends what is exclusive on nodes that are lost or were evicted, as soon
// as its lease cannot be held any more: only then something else may run in its
// place.
func (p *planner) lapse() {
	p.lapseAgain()
	p.lapseLost()
	slices.SortFunc(p.plan.Lapse, func(a, b *sitev1.LeaseLapse) int {
		return cmp.Or(cmp.Compare(a.GetProject(), b.GetProject()), cmp.Compare(a.GetPlacement(), b.GetPlacement()))
	})
}

func (p *planner) lapseLost() {
	for _, node := range p.view.Nodes() {
		removed := node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
		if w := p.nodes[node.GetName()]; !removed && (w == nil || !w.isLost()) {
			continue
		}
		if !removed && !p.view.Adopted(node) {
			continue // left alone until it is heard, or somebody says that it is off
		}
		for _, placement := range p.view.PlacementsOn(node.GetName()) {
			if state.MayRun(placement) && (removed || p.isGivenUp(placement, placement.GetSpec())) && !p.lapseOne(placement) {
				return
			}
		}
	}
}

// lapseOne placement if its time has come; false when the plan is full.
func (p *planner) lapseOne(placement *skerryv1.Placement) bool {
	if len(p.plan.GetLapse()) == maxLapses {
		return false
	}
	lease := manifest.LeaseOf(placement.GetSpec())
	wait := p.began + lease + manifest.DriftBound(lease) - p.now
	if p.leases != nil {
		wait = p.leases.Lapse(placement.GetProject(), placement.GetName(), lease, p.now)
	}
	if wait > 0 {
		p.wakeAt(p.now + wait)
		return true
	}
	for _, known := range p.plan.GetLapse() {
		if known.GetProject() == placement.GetProject() && known.GetPlacement() == placement.GetName() {
			return true
		}
	}
	p.plan.Lapse = append(p.plan.Lapse, &sitev1.LeaseLapse{Project: placement.GetProject(), Placement: placement.GetName()})
	return true
}

// lapseAgain tells the state of those that it does not know of yet, also when
// their nodes have come back: they would wait for a lease in vain.
func (p *planner) lapseAgain() {
	if p.leases == nil {
		return
	}
	for _, key := range p.leases.Lapsed() {
		if placement := p.view.Placement(key[0], key[1]); placement != nil && state.MayRun(placement) && len(p.plan.GetLapse()) < maxLapses {
			p.plan.Lapse = append(p.plan.Lapse, &sitev1.LeaseLapse{Project: key[0], Placement: key[1]})
		}
	}
}
