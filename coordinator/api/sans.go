package api

import (
	"net"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// ownAddresses of a node that its SVID may name. The node says itself where it
// is: what another node is called, or where another one is, it does not get, so
// that nobody who goes by host names takes it for that one.
func ownAddresses(nodes []*skerryv1.Node, node *skerryv1.Node) []string {
	host := hostOf(node.GetAddress())
	for _, other := range nodes {
		if other.GetName() == node.GetName() || other.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		if sameHost(host, other.GetName()) || sameHost(host, hostOf(other.GetAddress())) {
			return nil
		}
	}
	return []string{node.GetAddress()}
}

// sameHost compares names without case, and IP addresses however written.
func sameHost(a, b string) bool {
	if ip := net.ParseIP(a); ip != nil {
		return ip.Equal(net.ParseIP(b))
	}
	return strings.EqualFold(a, b)
}
