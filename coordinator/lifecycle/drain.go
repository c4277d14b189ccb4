package lifecycle

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/scheduler"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// maxTrials of one step find out whether something could move if it were gone.
const maxTrials = 4

const isDrained = "its node is drained"

// leaves: its node makes it leave.
func (s *sheet) leaves(p *skerryv1.Placement) bool {
	return p.GetNode() != "" && state.Leaves(s.view.Node(p.GetNode()))
}

// moveAway what is on nodes that are drained: a few at a time, another one
// first where there is room, and never more than the workload can spare.
func (s *sheet) moveAway() {
	var leaving []*skerryv1.Placement
	moving := 0
	for _, p := range s.all {
		if p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || !s.leaves(p) || p.GetLostSince() != nil {
			continue
		}
		leaving = append(leaving, p)
		if next := state.Successor(p, s.all); next != nil && !state.IsHealthy(next) {
			moving++
		}
	}
	if len(leaving) == 0 || !s.settled(s.all) {
		return
	}
	for _, p := range leaving {
		switch {
		case state.HeldElsewhere(p):
		case state.LeavesLive(s.view.Node(p.GetNode()), p, s.view.Volume):
			s.plan.Migrate = append(s.plan.Migrate, &sitev1.MigrateAway{Project: p.GetProject(), Placement: p.GetName()})
		case state.StaysPut(s.w, p):
			if state.ToMaintenance(s.view.Node(p.GetNode())) {
				s.makeWay(p, "its node goes into maintenance")
			}
		case !state.IsHealthy(p):
			s.makeWay(p, isDrained)
		case p.GetReplacedBy() != "":
			if s.mayGo(p) {
				s.makeWay(p, isDrained)
			}
		case s.w.GetUpdate().GetStrategy() == manifest.Recreate || s.mustNotRunTwice(p):
			if s.fitsWithout(p, s.another(p)) {
				s.makeWay(p, isDrained)
			}
		case moving < state.AtATime(s.w) && !s.awaited() && s.create(p, s.followsStable(p)):
			moving++
		}
	}
}

// makeWay ends a placement if its workload can spare it.
func (s *sheet) makeWay(p *skerryv1.Placement, reason string) {
	if state.IsHealthy(p) && state.Spare(s.w, s.all, state.AtATime(s.w)) == 0 {
		return
	}
	if s.remove(p, reason) {
		s.plan.Remove[len(s.plan.Remove)-1].Drain = true
	}
}

// mayGo: its successor does its work, or there is none any more, or there can be
// none before it is gone.
func (s *sheet) mayGo(p *skerryv1.Placement) bool {
	next := state.Successor(p, s.all)
	if next == nil || state.IsHealthy(next) {
		return true
	}
	return next.GetNode() == "" && next.GetDecision() != nil && next.GetDecision().GetPromised() == "" && s.fitsWithout(p, next)
}

// another placement like this one, which would be the youngest that waits.
func (s *sheet) another(p *skerryv1.Placement) *skerryv1.Placement {
	return &skerryv1.Placement{
		Project: p.GetProject(), Name: p.GetName(), Workload: p.GetWorkload(), Spec: s.w, Generation: s.w.GetGeneration(),
		Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Created: timestamppb.New(s.view.Time().AsTime().Add(time.Second)),
	}
}

// fitsWithout tells whether a placement would find a node if another one were
// gone. It is found out again when something relevant has changed.
func (s *sheet) fitsWithout(gone, waits *skerryv1.Placement) bool {
	if s.tried.at != s.view.PlacingIndex() {
		s.tried = tried{at: s.view.PlacingIndex(), inVain: map[string]bool{}}
	}
	if s.tried.inVain[placementKey(waits)] || s.trials == maxTrials {
		return false
	}
	if len(s.plan.GetCreate()) > 0 {
		return false // the next step sees where these go
	}
	s.trials++
	trusted := s.trusted(s.doubted())
	in := scheduler.Input{Index: s.view.Index(), Workloads: s.view.Workloads(), Images: s.view.Images(), Volumes: s.view.Volumes(), Nodes: trusted, Policy: s.view.Policy()}
	for _, p := range s.view.Placements() {
		if placementKey(p) != placementKey(gone) && placementKey(p) != placementKey(waits) {
			in.Placements = append(in.Placements, p)
		}
	}
	in.Placements = append(in.Placements, waits)
	for _, a := range scheduler.Schedule(in).Assign {
		if a.GetProject() == waits.GetProject() && a.GetPlacement() == waits.GetName() {
			s.trials = maxTrials // the next one sees where this one went
			return true
		}
	}
	s.tried.inVain[placementKey(waits)] = true
	return false
}

// roomIsAwaited: something ends, or has just ended, that can begin elsewhere only
// after it. What moves the other way round must not take its room meanwhile.
func (p *planner) roomIsAwaited() bool {
	return slices.ContainsFunc(p.view.Workloads(), func(w *skerryv1.Workload) bool {
		if manifest.IsJob(w) || w.GetPerNode() {
			return false
		}
		s := &sheet{planner: p, w: w, all: p.view.PlacementsOf(w.GetProject(), w.GetName())}
		return state.StopsFirst(w) && len(s.counted()) < s.wanted() || slices.ContainsFunc(s.all, func(other *skerryv1.Placement) bool {
			next := state.Successor(other, s.all)
			return next != nil && next.GetNode() == "" && other.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP && s.leaves(other)
		})
	})
}

// tried is what was found to have no node even if another placement were gone,
// as of a placing index of the state.
type tried struct {
	at     uint64
	inVain map[string]bool
}

// planned are placements as the plan leaves them.
func (p *planner) planned(placements []*skerryv1.Placement) []*skerryv1.Placement {
	left := make([]*skerryv1.Placement, 0, len(placements))
	for _, placement := range placements {
		if changed, ok := p.changed[placementKey(placement)]; ok {
			placement = changed
		}
		if placement != nil {
			left = append(left, placement)
		}
	}
	return left
}

// endDrains that are done, or take too long.
func (p *planner) endDrains() {
	for node := range p.view.AllNodes() {
		if node.GetDuty().GetDuty() != skerryv1.Duty_DUTY_DRAINING || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		left, _ := state.Left(node, p.planned(p.view.PlacementsOn(node.GetName())), p.view.Volume)
		late := false
		if deadline := node.GetDuty().GetDrain().GetDeadline(); deadline != nil {
			wait := deadline.AsTime().Sub(p.siteNow())
			late = wait <= 0
			p.wakeAt(p.now + max(wait, time.Millisecond))
		}
		if (len(left) == 0 || late) && len(p.plan.GetEndDrains()) < maxServed {
			p.plan.EndDrains = append(p.plan.EndDrains, &sitev1.EndDrain{Node: node.GetName()})
		}
	}
}
