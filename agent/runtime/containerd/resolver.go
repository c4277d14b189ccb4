package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// dnsPort is the only one that resolvers ask.
const dnsPort = 53

// Gateway is the node's address on the containers' bridge.
func (d *Driver) Gateway() netip.Addr { return d.network.subnet.Addr().Next() }

// loopback is where the machine itself asks.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// resolving is who asks the node's DNS: containers on the bridge, and with machine
// those on the machine's network. domain is what the site's names end with.
type resolving struct {
	domain  string
	machine bool
}

// Resolve implements runtime.Resolving.
func (d *Driver) Resolve(domain string, machine bool) {
	d.resolving.Store(&resolving{domain, machine})
}

// ListenDNS opens the sockets on the containers' bridge, which it makes when no
// container has needed it yet.
func (d *Driver) ListenDNS(ctx context.Context) (runtime.DNSListener, error) {
	if err := d.network.take(ctx); err != nil {
		return runtime.DNSListener{}, err
	}
	index, err := d.makeBridge()
	d.network.release()
	if err != nil {
		return runtime.DNSListener{}, problem.New(problem.Internal, bridgeName, "the containers' bridge cannot be made for DNS: %w", err)
	}
	listener, err := listenDNS(ctx, d.Gateway(), bridgeName)
	listener.From = d.network.subnet
	listener.Gone = func() bool {
		link, err := netlink.LinkByName(bridgeName)
		return err != nil || link.Attrs().Index != index
	}
	return listener, err
}

// ListenLoopback opens the sockets where the machine itself asks.
func (d *Driver) ListenLoopback(ctx context.Context) (runtime.DNSListener, error) {
	listener, err := listenDNS(ctx, loopback, "lo")
	listener.From = netip.PrefixFrom(netip.AddrFrom4([4]byte{127}), 8)
	listener.Gone = func() bool { return false }
	return listener, err
}

// makeBridge makes sure of the bridge, as the CNI plugin makes it, and returns
// its index.
func (d *Driver) makeBridge() (int, error) {
	link, err := netlink.LinkByName(bridgeName)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = bridgeName
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
			return 0, err
		}
		link, err = netlink.LinkByName(bridgeName)
	}
	if err != nil {
		return 0, err
	}
	// A bridge that was not told its hardware address takes that of a container,
	// and another one when that goes: what is under way to it is lost. The plugin
	// tells it only when it gives the bridge its address.
	if err := netlink.LinkSetHardwareAddr(link, link.Attrs().HardwareAddr); err != nil {
		return 0, err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{
		IP: d.Gateway().AsSlice(), Mask: net.CIDRMask(d.network.subnet.Bits(), d.network.subnet.Addr().BitLen()),
	}}
	if err := netlink.AddrAdd(link, address); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, err
	}
	return link.Attrs().Index, netlink.LinkSetUp(link)
}

// listenDNS listens at an address, for what comes in by one interface: the
// kernel would else take what another machine sends to that address.
func listenDNS(ctx context.Context, address netip.Addr, device string) (runtime.DNSListener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = unix.BindToDevice(int(fd), device) })
		return errors.Join(err, failed)
	}}
	at := net.JoinHostPort(address.String(), strconv.Itoa(dnsPort))
	packets, err := config.ListenPacket(ctx, "udp", at)
	if err != nil {
		return runtime.DNSListener{}, inUse(at, err)
	}
	streams, err := config.Listen(ctx, "tcp", at)
	if err != nil {
		return runtime.DNSListener{}, errors.Join(inUse(at, err), packets.Close())
	}
	return runtime.DNSListener{Packets: packets, Streams: streams}, nil
}

func inUse(at string, err error) error {
	p := problem.New(problem.Internal, at, "DNS for the containers cannot listen: %w", err)
	if errors.Is(err, unix.EADDRINUSE) {
		return p.WithHint("another DNS server listens on all addresses: let it leave out interface %s (dnsmasq: except-interface=%s)", bridgeName, bridgeName)
	}
	return p
}

// ownResolver is the resolv.conf of a container on a network; nil when the node's
// DNS is not its resolver. On the machine's network it is the only one: others would
// be asked for names of the site, too.
func (d *Driver) ownResolver(project, network string) []byte {
	told := d.resolving.Load()
	at := d.Gateway()
	switch {
	case told == nil:
		return nil
	case network == networkHost && told.machine:
		at = loopback
	case network != networkBridge:
		return nil
	}
	return fmt.Appendf(nil, "nameserver %s\nsearch %s.%s\noptions timeout:1 attempts:5\n", at, project, told.domain)
}
