package libvirt

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// guestCard is what the guest's agent says of a network card.
type guestCard struct {
	MAC       string `json:"hardware-address"`
	Addresses []struct {
		Address string `json:"ip-address"`
	} `json:"ip-addresses"`
}

// GuestAddress is an address of a guest on a bridge of this node: its agent tells, or
// else who has talked to the node.
func (d *Driver) GuestAddress(ctx context.Context, id string, vm *skerryv1.VirtualMachine) (string, error) {
	if err := runtime.CheckID(id); err != nil {
		return "", err
	}
	bridged := map[string]string{} // bridges by addresses of cards
	for i, card := range d.cards(machine{spec: runtime.Spec{ID: id, VM: vm}}) {
		if bridge := vm.GetNetworks()[i].GetBridge(); bridge != "" {
			bridged[strings.ToLower(card.MAC.Address)] = bridge
		}
	}
	var cards []guestCard
	err := d.agent(ctx, id, pingTime, "guest-network-get-interfaces", nil, &cards)
	for _, card := range cards {
		for _, a := range card.Addresses {
			if bridged[strings.ToLower(card.MAC)] != "" && reachable(a.Address) {
				return a.Address, nil
			}
		}
	}
	for mac, bridge := range bridged {
		if found := neighbour(bridge, mac); found != "" {
			return found, nil
		}
	}
	if err != nil {
		return "", problem.New(problem.Unavailable, id, "the address of the guest is not known: its agent does not tell, and it has not talked to this node").
			WithHint("install qemu-guest-agent in the guest, or give the bridge %s an address in its network", strings.Join(slices.Sorted(bridgesOf(bridged)), ", "))
	}
	return "", problem.New(problem.Unavailable, id, "the guest has no address on a bridge of this node yet")
}

func bridgesOf(byMAC map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, bridge := range byMAC {
			if !yield(bridge) {
				return
			}
		}
	}
}

// reachable from the node without naming an interface.
func reachable(text string) bool {
	a, err := netip.ParseAddr(text)
	return err == nil && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsUnspecified() && !a.IsMulticast()
}

// neighbour is who has used a hardware address on a bridge; empty: nobody.
func neighbour(bridge, mac string) string {
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return ""
	}
	known, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_ALL)
	if err != nil {
		return ""
	}
	wanted, err := net.ParseMAC(mac)
	if err != nil {
		return ""
	}
	for _, n := range known {
		if slices.Equal(n.HardwareAddr, wanted) && n.State&netlink.NUD_FAILED == 0 && reachable(n.IP.String()) {
			return n.IP.String()
		}
	}
	return ""
}
