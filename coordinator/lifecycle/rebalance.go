package lifecycle

import (
	"slices"
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxMoving placements of the site are on their way at once in a rebalance.
const maxMoving = 8

const (
	moveBegun = skerryv1.RebalanceState_REBALANCE_STATE_MOVING
	moveDone  = skerryv1.RebalanceState_REBALANCE_STATE_MOVED
	moveLeft  = skerryv1.RebalanceState_REBALANCE_STATE_LEFT
)

// findMoves of the rebalance that is under way, by workload.
func (p *planner) findMoves() {
	r := p.view.Rebalance()
	if r == nil || r.GetEnded() != nil {
		return
	}
	p.moves = map[string][]*skerryv1.RebalanceMove{}
	for _, m := range r.GetMoves() {
		if m.GetState() >= moveDone {
			continue
		}
		of := m.GetProject() + "\x00" + m.GetWorkload()
		p.moves[of] = append(p.moves[of], m)
		if m.GetState() == moveBegun {
			p.moving++
			p.movesAlone = p.movesAlone || state.StopsFirst(p.view.Workload(m.GetProject(), m.GetWorkload()))
		}
	}
	p.wakeAt(p.now + max(r.GetDeadline().AsTime().Sub(p.siteNow()), time.Millisecond))
}

// leaveMoves of workloads that are gone, and one of those that wait for each
// other to make room.
func (p *planner) leaveMoves() {
	waiting := 0
	for _, moves := range p.moves {
		waiting += len(moves)
	}
	if p.moving == 0 && len(p.blocked) > 0 && len(p.blocked) == waiting {
		p.moveIs(p.blocked[0], moveLeft, "node "+p.blocked[0].GetTo()+" has no room for it: what is to leave that waits for room, too")
	}
	for _, m := range p.view.Rebalance().GetMoves() {
		if p.moves != nil && m.GetState() < moveDone && p.view.Workload(m.GetProject(), m.GetWorkload()) == nil {
			p.moveIs(m, moveLeft, "its workload is gone")
		}
	}
}

// moveIs says what became of one move.
func (p *planner) moveIs(m *skerryv1.RebalanceMove, to skerryv1.RebalanceState, note string) {
	p.plan.Rebalanced = append(p.plan.Rebalanced, &sitev1.RebalanceStep{
		Project: m.GetProject(), Placement: m.GetPlacement(), State: to, Note: note,
	})
}

func (p *planner) rebalanceIsLate() bool {
	return !p.siteNow().Before(p.view.Rebalance().GetDeadline().AsTime())
}

// rebalance moves what somebody asked for: another one first on the node that is
// better, and the old one ends when that is healthy.
func (s *sheet) rebalance() {
	moves := s.moves[s.w.GetProject()+"\x00"+s.w.GetName()]
	if len(moves) == 0 || !s.settled(s.all) {
		return
	}
	moving, tooMany := 0, s.someEnd()
	for _, m := range moves {
		p := s.view.Placement(m.GetProject(), m.GetPlacement())
		if m.GetState() == moveBegun {
			if next := state.Successor(p, s.all); !state.IsHealthy(next) {
				moving++
			}
			s.followMove(m, p)
		}
	}
	if tooMany {
		return // what is left may be in balance, and two would go at once
	}
	for _, m := range moves {
		if m.GetState() != moveBegun && s.beginMove(m, moving) {
			moving++
			s.moving++
		}
	}
}

// someEnd tells whether this plan ends one of the workload.
func (s *sheet) someEnd() bool {
	return slices.ContainsFunc(s.all, func(p *skerryv1.Placement) bool {
		return p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN && s.changed[placementKey(p)] != nil
	})
}

// beginMove unless too many others are under way, or it makes no sense any more.
func (s *sheet) beginMove(m *skerryv1.RebalanceMove, moving int) bool {
	p := s.view.Placement(m.GetProject(), m.GetPlacement())
	if p == nil {
		s.moveIs(m, moveLeft, "it is gone")
		return false
	}
	to := s.view.Node(m.GetTo())
	why := state.WhyNotMoved(s.w, p, s.rollout, s.view.Node(p.GetNode()))
	switch {
	case why != "":
	case s.rebalanceIsLate():
		why = "its turn did not come before the deadline"
	case state.WhyNoWork(to, s.w) != "":
		why = "node " + m.GetTo() + ": " + state.WhyNoWork(to, s.w)
	case state.IsDistrusted(to):
		why = "node " + m.GetTo() + " was lost several times within an hour"
	case !state.MeetsRequirements(to, s.w):
		why = "node " + m.GetTo() + " does not meet its conditions any more"
	}
	if why != "" {
		s.moveIs(m, moveLeft, why)
		return false
	}
	// What ends first needs to find the room that it was judged by.
	if s.movesAlone || s.moving > 0 && state.StopsFirst(s.w) {
		return false
	}
	if s.moving >= maxMoving || moving >= state.AtATime(s.w) || s.changed[placementKey(p)] != nil {
		return false
	}
	if !s.hasRoom(to) {
		if s.someLeave(to.GetName()) {
			s.blocked = append(s.blocked, m)
		} else {
			s.moveIs(m, moveLeft, "node "+to.GetName()+" has no room for it")
		}
		return false
	}
	if state.StopsFirst(s.w) {
		return s.moveByStopping(m, p)
	}
	if !s.add(&sitev1.NewPlacement{Replaces: p.GetName(), Rebalance: true}) {
		return false
	}
	s.put(p, func(next *skerryv1.Placement) { next.ReplacedBy = "new" })
	return true
}

// moveByStopping ends a placement of which two must not run at once, when the
// next one has another node then.
func (s *sheet) moveByStopping(m *skerryv1.RebalanceMove, p *skerryv1.Placement) bool {
	next := s.another(p)
	switch {
	case s.fitsWithout(p, next):
		s.makeWay(p, "a rebalance moves it: "+m.GetWhy())
		if s.changed[placementKey(p)] != nil {
			s.movesAlone = true
			return true
		}
		s.moveIs(m, moveLeft, "two of it must not run at once, and none of its workload can be spared")
	case s.tried.inVain[placementKey(next)]:
		s.moveIs(m, moveLeft, "no other node takes it")
	}
	return false
}

// hasRoom for one more of the workload, as far as is known before it is placed.
func (s *sheet) hasRoom(node *skerryv1.Node) bool {
	needs, err := state.NeedsOf(s.w)
	if err != nil {
		return false
	}
	usage := state.UsageOf(s.view.PlacementsOn(node.GetName())).Reserve(node)
	return usage.Fits(s.view.Policy().Room(node.GetCapacity()), needs)
}

// someLeave a node in this rebalance.
func (s *sheet) someLeave(node string) bool {
	for _, m := range s.view.Rebalance().GetMoves() {
		if m.GetFrom() == node && m.GetState() < moveDone {
			return true
		}
	}
	return false
}

// followMove that has begun.
func (s *sheet) followMove(m *skerryv1.RebalanceMove, p *skerryv1.Placement) {
	next := state.Successor(p, s.all)
	switch {
	case p == nil && m.GetSuccessor() != "":
		s.moveIs(m, moveDone, "")
	case p == nil && s.rebalanceIsLate():
		s.moveIs(m, moveLeft, "it is gone, and nothing takes its place")
	case p == nil:
	case p.GetLostSince() != nil: // also when it was about to end: nobody knows when it will have
		s.moveIs(m, moveLeft, "its node was lost meanwhile")
	case p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN:
	case next == nil:
		s.moveIs(m, moveLeft, "what was to take its place is gone")
	case state.IsHealthy(next):
		s.makeWay(p, "a rebalance moved it to "+next.GetNode())
		if s.changed[placementKey(p)] == nil && s.rebalanceIsLate() {
			s.moveIs(m, moveLeft, "too few others of its workload were healthy before the deadline")
		}
	case next.GetNode() == "" && next.GetDecision().GetPromised() == "":
		s.moveIs(m, moveLeft, "node "+m.GetTo()+" did not take it after all")
	case s.rebalanceIsLate():
		s.moveIs(m, moveLeft, "what was to take its place was not healthy before the deadline")
	}
}
