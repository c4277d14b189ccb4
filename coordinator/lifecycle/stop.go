package lifecycle

import (
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const siteIsStopped = "the site is stopped"

// startAgain a site that was stopped, when its machines were switched off and on.
func (s *step) startAgain() bool {
	stop := s.view.Stop()
	if stop == nil || !state.PowerCame(stop, s.view.Replicas()) {
		return false
	}
	s.effects.Propose = append(s.effects.Propose, &sitev1.Entry{Change: &sitev1.Entry_StartSite{
		StartSite: &sitev1.StartSite{PowerOn: true},
	}})
	return true
}

// planStop ends what runs, and starts nothing: first that for which nothing else
// waits. What stays gets its successor, which waits with all others.
func (p *planner) planStop(workloads []*skerryv1.Workload, placements []*skerryv1.Placement) {
	clear(p.rollouts) // they begin afresh
	left := state.StillRuns(placements, p.isReady)
	if len(left) == 0 {
		p.plan.SiteStopped = p.view.Stop().GetStopped() == nil
	} else if !p.stopsLate() {
		left = state.StopOrder(workloads, left)[0]
	}
	ends := map[string]bool{}
	for _, placement := range left {
		ends[placementKey(placement)] = placement.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN
	}
	for _, w := range workloads {
		s := &sheet{planner: p, w: w, all: p.view.PlacementsOf(w.GetProject(), w.GetName())}
		for _, placement := range s.all {
			if ends[placementKey(placement)] && s.remove(placement, siteIsStopped) {
				s.plan.Remove[len(s.plan.Remove)-1].SiteStop = true
			}
		}
		if !manifest.IsJob(w) {
			s.succeed()
		}
	}
	for _, placement := range p.planned(placements) {
		if placement.GetNode() == "" {
			p.postpone(placement, siteIsStopped)
		}
	}
}

func (p *planner) isReady(node string) bool {
	return p.view.Node(node).GetState() == skerryv1.NodeState_NODE_STATE_READY
}

// stopsLate: the order is not kept any longer.
func (p *planner) stopsLate() bool {
	deadline := p.view.Stop().GetDeadline()
	if deadline == nil {
		return false
	}
	wait := deadline.AsTime().Sub(p.siteNow())
	if wait > 0 {
		p.wakeAt(p.now + max(wait, time.Millisecond))
	}
	return wait <= 0
}
