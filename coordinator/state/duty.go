package state

import (
	"fmt"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Reasons why a node gets no new work.
const (
	noSuchNode = "it is not there"
	isLost     = "it is lost"
	isCordoned = "it is cordoned"
)

// WhyNoWork says why a node may not get a new placement of this workload now;
// empty when it may. What is pinned to a node has its data there: it may come
// back to one that gets nothing else.
func WhyNoWork(node *skerryv1.Node, w *skerryv1.Workload) string {
	switch node.GetState() {
	case skerryv1.NodeState_NODE_STATE_READY:
	case skerryv1.NodeState_NODE_STATE_LOST:
		return isLost
	default:
		return noSuchNode
	}
	if node.GetDuty() == nil || PinnedTo(w) == node.GetName() {
		return ""
	}
	return isCordoned
}

// changeDuty takes a node out of service, or back.
func (x *tx) changeDuty(change *sitev1.ChangeDuty) (*sitev1.Outcome, error) {
	old := nodes.get(x.Txn, change.GetNode())
	if old == nil || old.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return nil, missing("Node", change.GetNode())
	}
	about := "Node/" + old.GetName()
	if len(change.GetReason()) > maxMessage {
		return nil, problem.New(problem.Invalid, about, "it is longer than %d bytes", maxMessage).WithField("reason")
	}
	if old.GetDuty().GetDuty() == change.GetDuty() {
		return &sitev1.Outcome{Node: old}, nil
	}
	node := shallow(old)
	switch change.GetDuty() {
	case skerryv1.Duty_DUTY_UNSPECIFIED:
		node.Duty = nil
		x.inform(aboutNode(node.GetName()), "NodeInService", "%s", because("it may get new work again", change))
	case skerryv1.Duty_DUTY_CORDONED:
		node.Duty = &skerryv1.NodeDuty{Duty: change.GetDuty(), Reason: change.GetReason(), Since: x.time}
		x.inform(aboutNode(node.GetName()), "NodeCordoned", "%s", because("it gets nothing new", change))
	default:
		return nil, problem.New(problem.Invalid, about, "there is no duty %d", change.GetDuty()).WithField("duty")
	}
	x.putNode(node)
	return &sitev1.Outcome{Node: node}, nil
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
