package state

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// distrustFor is how long losses are remembered.
	distrustFor = time.Hour
	// distrustFrom so many losses on a node is not trusted; it may be a stumble
	// before.
	distrustFrom = 3
	// firstDistrust doubles with each further loss, up to maxRemembered of them.
	firstDistrust = time.Minute
	maxRemembered = 8
)

// IsDistrusted tells whether a node was lost again and again a short time ago: it
// gets new work only where no other node fits. That is an order of preference and
// no rule: a node that may be lost again is better than none.
func IsDistrusted(node *skerryv1.Node) bool { return node.GetDistrust().GetUntil() != nil }

// judgeTrust notes that a node is lost or back. One that is lost again and again
// is the last resort for a while, which doubles each time.
func (x *tx) judgeTrust(old *skerryv1.Node, state skerryv1.NodeState) *skerryv1.Node {
	node, next := shallow(old), &skerryv1.Distrust{Until: old.GetDistrust().GetUntil()}
	switch {
	case state == skerryv1.NodeState_NODE_STATE_LOST && x.halt.GetStopped() == nil && old.GetDuty().GetDuty() != skerryv1.Duty_DUTY_MAINTENANCE:
		for _, at := range old.GetDistrust().GetLost() {
			if x.time.AsTime().Sub(at.AsTime()) < distrustFor {
				next.Lost = append(next.Lost, at)
			}
		}
		next.Lost = append(next.Lost, x.time)
		next.Lost = next.Lost[max(0, len(next.Lost)-maxRemembered):]
	case state == skerryv1.NodeState_NODE_STATE_READY && len(old.GetDistrust().GetLost()) >= distrustFrom:
		next.Lost = old.GetDistrust().GetLost()
		pause := firstDistrust << (len(next.Lost) - distrustFrom)
		next.Until = timestamppb.New(x.time.AsTime().Add(pause))
		x.warn(aboutNode(node.GetName()), "NodeDistrusted", "it was lost %d times within an hour: for %s it gets new work only where no other node fits", len(next.Lost), pause)
	default:
		return old
	}
	node.Distrust = next
	return node
}

// trustNode again, because it has been well for long enough.
func (x *tx) trustNode(name string) bool {
	old := nodes.get(x.rows, name)
	until := old.GetDistrust().GetUntil()
	if until == nil || later(until, x.time) {
		return false
	}
	node := shallow(old)
	node.Distrust = &skerryv1.Distrust{Lost: old.GetDistrust().GetLost()}
	x.putNode(node)
	x.inform(aboutNode(name), "NodeTrusted", "it has not been lost again: it gets new work as before")
	return true
}
