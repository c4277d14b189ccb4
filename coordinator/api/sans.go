package api

import (
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
)

// ownAddresses of a node that its SVID may name. The node says itself where it
// is: what another node is called, or where another one is, it does not get, so
// that nobody who goes by host names takes it for that one.
func ownAddresses(view *state.View, node *skerryv1.Node) []string {
	for _, other := range view.AtHost(counts.HostOf(node.GetAddress())) {
		if other.GetName() != node.GetName() {
			return nil
		}
	}
	return []string{node.GetAddress()}
}
