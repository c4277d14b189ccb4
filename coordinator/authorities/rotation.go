package authorities

import (
	"time"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// RotationDue tells whether a CA of the last rotation has run for half of its
// life, and no rotation is under way; or whether time was set back to before one
// of them begins: that waits for nobody. now must be known.
func RotationDue(view *state.View, now time.Time) bool {
	if view.AuthorityAhead(now) {
		return true
	}
	due := false
	for node := range view.AllNodes() {
		if node.GetRaftId() == 0 || node.GetWitness() || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		if node.GetAuthorityGeneration() < view.AuthorityGeneration() {
			return false
		}
		authority := view.Authorities()[node.GetName()]
		due = due || authority != nil && certs.Due(authority, now)
	}
	return due
}
