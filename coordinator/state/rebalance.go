package state

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// MaxMoves of one rebalance.
const MaxMoves = 500

const (
	moveWaits = skerryv1.RebalanceState_REBALANCE_STATE_UNSPECIFIED
	moveBegun = skerryv1.RebalanceState_REBALANCE_STATE_MOVING
	moveDone  = skerryv1.RebalanceState_REBALANCE_STATE_MOVED
	moveLeft  = skerryv1.RebalanceState_REBALANCE_STATE_LEFT
)

// WhyNotMoved says why a placement is not moved by a rebalance as things are;
// empty when it may be. node is its own.
func WhyNotMoved(w *skerryv1.Workload, p *skerryv1.Placement, rollout Rollout, node *skerryv1.Node) string {
	switch {
	case w == nil || !Counts(p) || p.GetNode() == "":
		return "it is on its way out, or has no node"
	case w.GetPerNode() || manifest.IsJob(w):
		return "only what has replicas is moved"
	case StaysPut(w, p):
		return "it stays on its node (partition.mode: stay)"
	case slices.ContainsFunc(p.GetSpec().GetContainer().GetMounts(), func(m *skerryv1.Mount) bool { return m.GetHostPath() != "" }):
		return "it mounts a directory of its node"
	case p.GetLostSince() != nil || node.GetState() != skerryv1.NodeState_NODE_STATE_READY:
		return "its node is lost"
	case Leaves(node):
		return "its node is drained"
	case !rollout.Done():
		return "its workload is being updated"
	case !IsHealthy(p):
		return "it is not healthy: what is wrong with it comes first"
	}
	return ""
}

// StopsFirst: two of the workload's placements must not run at once, so one that
// moves ends before the next one begins.
func StopsFirst(w *skerryv1.Workload) bool {
	return w.GetUpdate().GetStrategy() == manifest.Recreate || IsExclusive(w)
}

// Rebalance that is under way, or the last one; nil for none.
func (v *View) Rebalance() *skerryv1.Rebalance { return v.meta.rebalance }

// Moves tells whether a rebalance that is under way moves a placement.
func Moves(r *skerryv1.Rebalance, p *skerryv1.Placement) *skerryv1.RebalanceMove {
	if r == nil || r.GetEnded() != nil {
		return nil
	}
	for _, m := range r.GetMoves() {
		if m.GetPlacement() == p.GetName() && m.GetProject() == p.GetProject() {
			return m
		}
	}
	return nil
}

// setRebalance replaces the record of the rebalance.
func (x *tx) setRebalance(r *skerryv1.Rebalance) {
	if x.rebalance != nil {
		x.sum -= x.hash("rebalance", x.rebalance)
	}
	x.rebalance = r
	if r != nil {
		x.sum += x.hash("rebalance", r)
	}
}

func (x *tx) startRebalance(change *sitev1.StartRebalance) (*sitev1.Outcome, error) {
	refused := func(format string, args ...any) *problem.Error {
		return problem.New(problem.Conflict, "site", format, args...)
	}
	switch {
	case x.halt != nil:
		return nil, refused("it is stopped: nothing runs that could move").WithHint("skerry site start starts it")
	case x.rebalance != nil && x.rebalance.GetEnded() == nil:
		return nil, refused("a rebalance is under way since %s, by %s", x.rebalance.GetStarted().AsTime().Format("2006-01-02 15:04:05 MST"), x.rebalance.GetBy()).
			WithHint("skerry rebalance --stop lets nothing more move")
	case len(change.GetMoves()) == 0 || len(change.GetMoves()) > MaxMoves || !change.GetDeadline().IsValid():
		return nil, problem.New(problem.Invalid, "site", "%d moves, 1 to %d are taken", len(change.GetMoves()), MaxMoves).WithField("moves")
	}
	r := &skerryv1.Rebalance{By: x.by, Started: x.time, Deadline: change.GetDeadline()}
	seen := map[string]bool{}
	for _, given := range change.GetMoves() {
		p := placements.get(x.rows, key(given.GetProject(), given.GetPlacement()))
		if p == nil || seen[placements.key(p)] {
			continue // it has gone meanwhile
		}
		seen[placements.key(p)] = true
		r.Moves = append(r.Moves, &skerryv1.RebalanceMove{
			Project: p.GetProject(), Workload: p.GetWorkload(), Placement: p.GetName(), From: p.GetNode(),
			To: bounded(given.GetTo(), maxNodeName), Why: bounded(given.GetWhy(), maxMessage),
		})
	}
	x.setRebalance(r)
	x.inform(x.aboutSite(), "RebalanceStarted", "%d placements move to where they would be placed now", len(r.GetMoves()))
	x.settleRebalance()
	return &sitev1.Outcome{}, nil
}

// stopRebalance lets nothing more begin to move.
func (x *tx) stopRebalance() (*sitev1.Outcome, error) {
	if x.rebalance == nil || x.rebalance.GetEnded() != nil || x.rebalance.GetStopping() {
		return &sitev1.Outcome{}, nil
	}
	x.stopMoving("somebody stopped the rebalance")
	x.settleRebalance()
	return &sitev1.Outcome{}, nil
}

// stopMoving leaves what has not begun to move where it is.
func (x *tx) stopMoving(why string) {
	r := shallow(x.rebalance)
	r.Stopping = true
	r.Moves = slices.Clone(r.GetMoves())
	for i, m := range r.GetMoves() {
		if m.GetState() == moveWaits {
			r.Moves[i] = shallow(m)
			r.Moves[i].State, r.Moves[i].Note = moveLeft, why
		}
	}
	x.setRebalance(r)
}

// endRebalance at once: what was on its way is left to whoever stops it.
func (x *tx) endRebalance(why string) {
	if x.rebalance == nil || x.rebalance.GetEnded() != nil {
		return
	}
	x.stopMoving(why)
	for _, m := range x.rebalance.GetMoves() {
		if m.GetState() == moveBegun {
			x.changeMove(m, func(m *skerryv1.RebalanceMove) { m.State, m.Note = moveLeft, why })
		}
	}
	x.settleRebalance()
}

// changeMove of a placement.
func (x *tx) changeMove(p *skerryv1.RebalanceMove, change func(*skerryv1.RebalanceMove)) {
	r := shallow(x.rebalance)
	r.Moves = slices.Clone(r.GetMoves())
	for i, m := range r.GetMoves() {
		if m == p {
			r.Moves[i] = proto.CloneOf(m)
			change(r.Moves[i])
		}
	}
	x.setRebalance(r)
}

// settleRebalance ends a rebalance of which nothing is left to do.
func (x *tx) settleRebalance() {
	if x.rebalance == nil || x.rebalance.GetEnded() != nil {
		return
	}
	count := map[skerryv1.RebalanceState]int{}
	why := ""
	for _, m := range x.rebalance.GetMoves() {
		count[m.GetState()]++
		if m.GetState() == moveLeft && why == "" {
			why = fmt.Sprintf(", such as %s: %s", m.GetPlacement(), m.GetNote())
		}
	}
	if count[moveWaits]+count[moveBegun] > 0 {
		return
	}
	r := shallow(x.rebalance)
	r.Ended, r.Result = x.time, fmt.Sprintf("%d moved", count[moveDone])
	if count[moveLeft] > 0 {
		r.Result = bounded(fmt.Sprintf("%s, %d left where they are%s", r.GetResult(), count[moveLeft], why), maxMessage)
	}
	x.setRebalance(r)
	x.inform(x.aboutSite(), "RebalanceEnded", "%s", r.GetResult())
}

// planRebalanced takes in what became of a move: it is gone and its successor is
// there, or it stays after all.
func (x *tx) planRebalanced(part *sitev1.RebalanceStep) bool {
	p := placements.get(x.rows, key(part.GetProject(), part.GetPlacement()))
	m := Moves(x.rebalance, &skerryv1.Placement{Project: part.GetProject(), Name: part.GetPlacement()})
	switch {
	case m == nil || m.GetState() >= moveDone:
		return false
	case part.GetState() == moveDone:
		if p != nil || m.GetState() != moveBegun || m.GetSuccessor() == "" {
			return false
		}
	case part.GetState() == moveLeft:
		if p.GetReplacedBy() != "" && p.GetReplacedBy() == m.GetSuccessor() && p.GetLostSince() == nil && Counts(withoutSuccessor(p)) {
			x.putPlacement(withoutSuccessor(p)) // the other one is surplus now
		}
	default:
		return false
	}
	x.changeMove(m, func(m *skerryv1.RebalanceMove) {
		m.State, m.Note = part.GetState(), bounded(part.GetNote(), maxMessage)
	})
	x.settleRebalance()
	return true
}

func withoutSuccessor(old *skerryv1.Placement) *skerryv1.Placement {
	p := shallow(old)
	p.ReplacedBy = ""
	return p
}

// maySucceed tells whether a placement may get a successor on another node now,
// because a rebalance moves it.
func (x *tx) maySucceed(w *skerryv1.Workload, p *skerryv1.Placement) *skerryv1.RebalanceMove {
	m := Moves(x.rebalance, p)
	if m == nil || m.GetState() != moveWaits || x.rebalance.GetStopping() || p.GetReplacedBy() != "" ||
		WhyNotMoved(w, p, x.rollout(key(w.GetProject(), w.GetName())), nodes.get(x.rows, p.GetNode())) != "" {
		return nil
	}
	return m
}

func (x *tx) noteSuccessor(m *skerryv1.RebalanceMove, name string) {
	x.changeMove(m, func(m *skerryv1.RebalanceMove) { m.State, m.Successor = moveBegun, name })
}

// movedByStopping is the first move of a workload that ended its placement before
// there was another one; nil for none.
func (x *tx) movedByStopping(w *skerryv1.Workload) *skerryv1.RebalanceMove {
	if x.rebalance == nil || x.rebalance.GetEnded() != nil {
		return nil
	}
	for _, m := range x.rebalance.GetMoves() {
		if m.GetState() == moveBegun && m.GetSuccessor() == "" && m.GetWorkload() == w.GetName() && m.GetProject() == w.GetProject() {
			return m
		}
	}
	return nil
}

// decisionFor what a move makes: its node is promised.
func (x *tx) decisionFor(m *skerryv1.RebalanceMove) *skerryv1.Decision {
	why := bounded(fmt.Sprintf("a rebalance moves %s from %s: %s", m.GetPlacement(), m.GetFrom(), m.GetWhy()), maxMessage)
	return &skerryv1.Decision{Index: x.index, At: x.time, Promised: m.GetTo(), Rebalance: why, Summary: why}
}

func describeRebalance(leaf *skerryv1.AuditEntry, change *sitev1.StartRebalance) {
	about(leaf, "rebalance", "Site")
	leaf.Message = fmt.Sprintf("%d placements", len(change.GetMoves()))
	for _, m := range change.GetMoves()[:min(len(change.GetMoves()), maxNamed)] {
		leaf.Resources = append(leaf.Resources, resourcePath("Placement", m.GetProject(), m.GetPlacement()))
	}
}
