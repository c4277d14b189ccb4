package state

import (
	"fmt"
	"slices"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Reasons why a node gets no new work.
const (
	noSuchNode    = "it is not there"
	isLost        = "it is lost"
	isCordoned    = "it is cordoned"
	isDrained     = "it is drained"
	inMaintenance = "it is in maintenance"
	isWitness     = "it is a witness: it votes and runs nothing"
)

// WhyNoWork says why a node may not get a new placement of this workload now;
// empty when it may. What is pinned to a node has its data there: it may come
// back to one that gets nothing else, but for maintenance.
func WhyNoWork(node *skerryv1.Node, w *skerryv1.Workload) string {
	switch node.GetState() {
	case skerryv1.NodeState_NODE_STATE_READY:
	case skerryv1.NodeState_NODE_STATE_LOST:
		return isLost
	default:
		return noSuchNode
	}
	if node.GetWitness() {
		return isWitness
	}
	switch {
	case node.GetDuty() == nil:
		return ""
	case ToMaintenance(node):
		return inMaintenance
	case PinnedTo(w) == node.GetName():
		return ""
	case Leaves(node):
		return isDrained
	default:
		return isCordoned
	}
}

// Leaves tells whether what may run elsewhere moves away from a node.
func Leaves(node *skerryv1.Node) bool {
	return node.GetDuty().GetDuty() > skerryv1.Duty_DUTY_CORDONED
}

// ToMaintenance tells whether a node is in maintenance, or on its way there:
// then what stays on it stops.
func ToMaintenance(node *skerryv1.Node) bool {
	return Leaves(node) && node.GetDuty().GetDrain().GetUntil() == skerryv1.Duty_DUTY_MAINTENANCE
}

// changeDuty takes a node out of service, or back.
func (x *tx) changeDuty(change *sitev1.ChangeDuty) (*sitev1.Outcome, error) {
	old := nodes.get(x.rows, change.GetNode())
	if old == nil || old.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return nil, missing("Node", change.GetNode())
	}
	if len(change.GetReason()) > maxMessage {
		return nil, problem.New(problem.Invalid, "Node/"+old.GetName(), "it is longer than %d bytes", maxMessage).WithField("reason")
	}
	node, about := shallow(old), aboutNode(old.GetName())
	next := &skerryv1.NodeDuty{Duty: change.GetDuty(), Reason: change.GetReason(), Since: x.time}
	switch change.GetDuty() {
	case skerryv1.Duty_DUTY_UNSPECIFIED:
		if old.GetDuty() == nil {
			return &sitev1.Outcome{Node: old}, nil
		}
		next = nil
		x.stayHere(old)
		x.inform(about, "NodeInService", "%s", because("it may get new work again", change))
	case skerryv1.Duty_DUTY_CORDONED:
		if old.GetDuty() != nil {
			return &sitev1.Outcome{Node: old}, nil // it gets nothing new already
		}
		x.inform(about, "NodeCordoned", "%s", because("it gets nothing new", change))
	case skerryv1.Duty_DUTY_DRAINED, skerryv1.Duty_DUTY_MAINTENANCE:
		if old.GetDuty().GetDuty() == change.GetDuty() {
			return &sitev1.Outcome{Node: old}, nil
		}
		if err := x.checkDrain(old); err != nil {
			return nil, err
		}
		next.Duty = skerryv1.Duty_DUTY_DRAINING
		next.Drain = &skerryv1.NodeDrain{Started: x.time, Deadline: change.GetDeadline(), Until: change.GetDuty()}
		x.inform(about, "DrainStarted", "%s", because("what may run elsewhere moves away from it", change))
	default:
		return nil, problem.New(problem.Invalid, "Node/"+old.GetName(), "there is no duty %d", change.GetDuty()).WithField("duty")
	}
	node.Duty = next
	x.putNode(node)
	return &sitev1.Outcome{Node: node}, nil
}

// checkDrain refuses a drain after which there would be nowhere to go.
func (x *tx) checkDrain(node *skerryv1.Node) error {
	here := placements.by(x.rows, byNode, node.GetName())
	if !slices.ContainsFunc(here, func(p *skerryv1.Placement) bool { return p.GetEnded() == nil }) {
		return nil // of what has ended only the logs are there
	}
	for _, other := range nodes.list(x.rows) {
		if other.GetName() != node.GetName() && WhyNoWork(other, nil) == "" {
			return nil
		}
	}
	return problem.New(problem.Conflict, "Node/"+node.GetName(), "no other node is in service: nothing of what it runs could go anywhere").
		WithHint("put another node into service first: skerry uncordon NODE, or let one join")
}

func because(what string, change *sitev1.ChangeDuty) string {
	if change.GetReason() == "" {
		return what
	}
	return fmt.Sprintf("%s: %s", what, change.GetReason())
}

func describeDuty(leaf *skerryv1.AuditEntry, change *sitev1.ChangeDuty) {
	about(leaf, "operate", "Node/"+change.GetNode())
	duty := "in service"
	if change.GetDuty() != skerryv1.Duty_DUTY_UNSPECIFIED {
		duty = strings.ToLower(strings.TrimPrefix(change.GetDuty().String(), "DUTY_"))
	}
	leaf.Message = bounded(because(duty, change), maxMessage)
}
