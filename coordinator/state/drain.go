package state

import (
	"fmt"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxNamedLeft placements are named in the result of a drain.
const maxNamedLeft = 5

// Successor is the placement that was made to take the place of this one and is
// to run; nil for none. all carry the name of the same workload.
func Successor(p *skerryv1.Placement, all []*skerryv1.Placement) *skerryv1.Placement {
	if p.GetReplacedBy() == "" {
		return nil
	}
	for _, other := range all {
		if other.GetName() == p.GetReplacedBy() && other.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			return other
		}
	}
	return nil
}

// AtATime is how many placements of a workload may be missing or on their way
// at once while the site itself changes something about it, when its
// minAvailable does not say.
func AtATime(w *skerryv1.Workload) int {
	return max(1, int(w.GetUpdate().GetMaxUnavailable()))
}

// makesWay tells whether a placement may end because its node is drained, or
// because a rebalance moves it.
func (x *tx) makesWay(w *skerryv1.Workload, p *skerryv1.Placement) bool {
	node := nodes.get(x.rows, p.GetNode())
	if m := Moves(x.rebalance, p); m != nil && m.GetState() < moveDone {
		return !StaysPut(w, p) && x.spares(w, p)
	}
	if !Leaves(node) || (StaysPut(w, p) && !ToMaintenance(node)) {
		return false
	}
	return x.spares(w, p)
}

// spares: the workload can do without a placement for a while.
func (x *tx) spares(w *skerryv1.Workload, p *skerryv1.Placement) bool {
	return !IsHealthy(p) || Spare(w, placements.by(x.rows, byWorkload, key(p.GetProject(), p.GetWorkload())), AtATime(w)) > 0
}

// Left is what is still on a node after a drain could have come to its end:
// what stays runs on unless it is for maintenance. find finds a volume, or nil.
func Left(node *skerryv1.Node, here []*skerryv1.Placement, find func(project, name string) *skerryv1.Volume) (left, staying []*skerryv1.Placement) {
	for _, p := range here {
		if p.GetEnded() != nil && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue // only its logs are there
		}
		stays := IsStay(p.GetSpec()) && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && !copying(p) && !LeavesLive(node, p, find)
		if stays && !ToMaintenance(node) {
			staying = append(staying, p)
		} else {
			left = append(left, p)
		}
	}
	return left, staying
}

// endDrain of a node from which all has gone that may, or that took too long:
// then nothing more moves, and what is left stays in its care.
func (x *tx) endDrain(part *sitev1.EndDrain) bool {
	old := nodes.get(x.rows, part.GetNode())
	drain := old.GetDuty().GetDrain()
	if old.GetDuty().GetDuty() != skerryv1.Duty_DUTY_DRAINING {
		return false
	}
	left, staying := Left(old, placements.by(x.rows, byNode, old.GetName()), x.volume)
	late := drain.GetDeadline() != nil && !later(drain.GetDeadline(), x.time)
	if len(left) > 0 && !late {
		return false
	}
	node, duty, ended := shallow(old), shallow(old.GetDuty()), shallow(drain)
	ended.Ended = x.time
	switch {
	case len(left) > 0:
		duty.Duty = skerryv1.Duty_DUTY_CORDONED
		ended.Result = bounded(fmt.Sprintf("it took too long: %s left, and the node gets nothing new", listed(left)), maxMessage)
		x.stayHere(old)
		x.warn(aboutNode(node.GetName()), "DrainGivenUp", "%s", ended.GetResult())
	case len(staying) > 0:
		duty.Duty = drain.GetUntil()
		ended.Result = bounded(fmt.Sprintf("what may run elsewhere is gone; %s there (partition.mode: stay)", staysThere(staying)), maxMessage)
		x.warn(aboutNode(node.GetName()), "DrainEnded", "%s", ended.GetResult())
	default:
		duty.Duty, ended.Result = drain.GetUntil(), "nothing runs on it any more"
		x.inform(aboutNode(node.GetName()), "DrainEnded", "%s", ended.GetResult())
	}
	duty.Drain, node.Duty = ended, duty
	x.putNode(node)
	return true
}

func listed(all []*skerryv1.Placement) string {
	if len(all) == 1 {
		return all[0].GetName() + " is"
	}
	return fmt.Sprintf("%d placements (%s) are", len(all), named(all))
}

func staysThere(all []*skerryv1.Placement) string {
	if len(all) == 1 {
		return all[0].GetName() + " stays"
	}
	return fmt.Sprintf("%d placements (%s) stay", len(all), named(all))
}

func named(all []*skerryv1.Placement) string {
	var names []string
	for _, p := range all[:min(len(all), maxNamedLeft)] {
		names = append(names, p.GetName())
	}
	if len(all) > maxNamedLeft {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

// stayHere forgets that others were to take the place of what runs on a node:
// they are surplus then.
func (x *tx) stayHere(node *skerryv1.Node) {
	if node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
		return // its work was replaced because it is lost
	}
	for _, old := range placements.by(x.rows, byNode, node.GetName()) {
		if old.GetReplacedBy() != "" && old.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			p := shallow(old)
			p.ReplacedBy = ""
			x.putPlacement(p)
		}
	}
}
