package lifecycle

import (
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// siteNow is the later one of the coordinator's clock and the log's newest stamp.
func (s *step) siteNow() time.Time {
	if newest := s.view.Time().AsTime(); newest.After(s.wall) {
		return newest
	}
	return s.wall
}

// trustAgain the nodes whose time of distrust is over.
func (p *planner) trustAgain() {
	for node := range p.view.AllNodes() {
		until := node.GetDistrust().GetUntil()
		if until == nil || node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
			continue
		}
		wait := until.AsTime().Sub(p.siteNow())
		if wait <= 0 {
			if len(p.plan.GetTrust()) < maxServed {
				p.plan.Trust = append(p.plan.Trust, node.GetName())
			}
			continue
		}
		p.wakeAt(p.now + wait)
	}
}
