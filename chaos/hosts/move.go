package hosts

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// moved is added to the last byte of the address of a host that has moved.
const moved = 100

// Readdress gives the host another address, or its first one back, and its agent
// the configuration for it. The agent must not run.
func (h *Host) Readdress(ctx context.Context) error {
	last := net.ParseIP(h.Address).To4()[3]
	if last > moved {
		last -= moved
	} else {
		last += moved
	}
	before := h.Address
	h.Address = h.rig.address(int(last))
	var failures error
	for _, command := range []string{
		// First: with the first address of a network its others go.
		"ip -n " + h.namespace + " address del " + before + "/24 dev eth0",
		"ip -n " + h.namespace + " address add " + h.Address + "/24 dev eth0",
		"ip -n " + h.namespace + " route replace default via " + h.rig.address(1),
	} {
		failures = errors.Join(failures, run(ctx, command))
	}
	if failures != nil {
		return fmt.Errorf("moving %s: %w", h.Name, failures)
	}
	return h.lay()
}
