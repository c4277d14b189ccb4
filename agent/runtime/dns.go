package runtime

import (
	"context"
	"net"
	"net/netip"
)

// Resolving is what a driver can do whose instances are on a network of the node
// and ask for names there.
type Resolving interface {
	// Resolve makes the node's DNS the resolver of instances that are prepared
	// from now on; on the network of the machine only where that is answered, too.
	// domain is what the site's names end with.
	Resolve(domain string, machine bool)
	// ListenDNS opens the place where instances ask. Nothing from outside the
	// node reaches it.
	ListenDNS(ctx context.Context) (DNSListener, error)
	// ListenLoopback opens the place where the machine itself asks.
	ListenLoopback(ctx context.Context) (DNSListener, error)
}

// DNSListener is where questions about names come in.
type DNSListener struct {
	Packets net.PacketConn
	Streams net.Listener
	// From is where questions come from.
	From netip.Prefix
	// Gone tells that nothing can arrive here any more.
	Gone func() bool
}
