package lifecycle

import (
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// replaceLost starts others in place of what was on lost nodes, unless it
// might then run twice. What is lost goes on running there, if it does.
func (s *sheet) replaceLost() {
	for _, p := range s.counted() {
		if !s.mustNotRunTwice(p) && s.givenUp(p) && !s.heldUp(p) && !s.create(p, s.followsStable(p)) {
			return
		}
	}
}

// heldUp: while the update of what is recreated is paused, and others of the old
// template are there, neither that nor the new one may start in place of an old one.
func (s *sheet) heldUp(p *skerryv1.Placement) bool {
	if !s.rollout.Paused() || s.w.GetUpdate().GetStrategy() != manifest.Recreate || s.isCurrent(p) {
		return false
	}
	return slices.ContainsFunc(s.counted(), func(other *skerryv1.Placement) bool { return !s.isCurrent(other) && !s.lost(other) })
}

// givenUp: its node is lost, and has been for so long that something else is to
// be done in its place.
func (s *sheet) givenUp(p *skerryv1.Placement) bool { return s.lost(p) && s.isGivenUp(p, s.w) }

// isGivenUp tells so of what is on a lost node.
func (s *planner) isGivenUp(p *skerryv1.Placement, w *skerryv1.Workload) bool {
	after, err := manifest.Duration(w.GetPartition().GetReplaceAfter())
	if err != nil {
		return false // the state takes none of these
	}
	if due := s.nodes[p.GetNode()].lost + after; s.now < due {
		s.wakeAt(due)
		return false
	}
	if s.now < s.mass.until {
		s.wakeAt(s.mass.until)
		s.waiting++
		return false
	}
	return true
}

// lost: its node is.
func (s *sheet) lost(p *skerryv1.Placement) bool {
	w := s.nodes[p.GetNode()]
	return p.GetLostSince() != nil && w != nil && w.isLost()
}

// settled: what the state says of these placements is up to date. A node that
// has just come back, or is in doubt, may not have told the truth yet.
func (s *sheet) settled(placements []*skerryv1.Placement) bool {
	for _, p := range placements {
		w := s.nodes[p.GetNode()]
		if p.GetNode() == "" || w == nil || w.isLost() {
			continue
		}
		if ready := w.ready + s.config.Settle; s.now < ready {
			s.wakeAt(ready)
			return false
		}
		if w.suspected(s.now) {
			return false
		}
	}
	return true
}

// succeed gives what stays a successor on the same node as soon as it is to
// stop: its data is there. The state binds the successor when it is gone.
func (s *sheet) succeed() {
	if !state.IsStay(s.w) {
		return
	}
	for _, p := range s.all {
		if len(s.counted()) >= s.wanted() {
			return
		}
		stops := p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP && p.GetReplacedBy() == ""
		if stops && s.isOwn(p) && s.mayReturn(p.GetNode()) && !s.create(p, false) {
			return
		}
	}
}

// isOwn: it is not of a workload that had the same name before.
func (s *sheet) isOwn(p *skerryv1.Placement) bool {
	return !p.GetCreated().AsTime().Before(s.w.GetCreated().AsTime())
}

// mayReturn: the workload may run on this node once more.
func (s *sheet) mayReturn(name string) bool {
	node := s.view.Node(name)
	return node.GetState() == skerryv1.NodeState_NODE_STATE_READY && state.MeetsRequirements(node, s.w)
}

// release drops pending placements that are to have one certain node, when
// that has left the site or is not allowed any more.
func (s *sheet) release() {
	for _, p := range s.counted() {
		name := s.pin(p)
		if name == "" {
			continue
		}
		node := s.view.Node(name)
		gone := node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
		if (gone || !state.MeetsRequirements(node, s.w)) &&
			!s.remove(p, "it was to run on node "+name+" again, which it cannot any more") {
			return
		}
	}
}

// pin is the node that a pending placement is to have, if it is to have a
// certain one: then it has one requirement more than its workload.
func (s *sheet) pin(p *skerryv1.Placement) string {
	own, require := len(s.w.GetPlace().GetRequire()), p.GetSpec().GetPlace().GetRequire()
	if p.GetNode() != "" || !state.IsStay(p.GetSpec()) || len(require) != own+1 || len(require[own].GetIn()) != 1 {
		return ""
	}
	return require[own].GetIn()[0]
}
