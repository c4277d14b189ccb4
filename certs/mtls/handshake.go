package mtls

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"

	"skerry.dev/certs"
)

// handshake makes a connection secure and finds out who is at the other end.
func (s *Server) handshake(ctx context.Context, conn net.Conn) (*tls.Conn, certs.Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	leave, err := s.gate.enter(ctx, hostOf(conn))
	if err != nil {
		return nil, certs.Peer{}, err
	}
	defer leave()
	var peer certs.Peer
	secured := tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.configFor(hello.SupportedProtos, &peer)
		},
	})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, certs.Peer{}, err
	}
	return secured, peer, nil
}

// configFor chooses the protocol, the first one offered that is served, and
// with it whom to ask for a certificate.
func (s *Server) configFor(offered []string, peer *certs.Peer) (*tls.Config, error) {
	if len(offered) == 0 {
		offered = []string{API1} // see agreed
	}
	at := slices.IndexFunc(offered, func(protocol string) bool { return s.routes[protocol] != nil })
	if at < 0 {
		return nil, fmt.Errorf("none of the protocols %.200q is served", offered)
	}
	r := s.routes[offered[at]]
	config := base(s.source, offered[at])
	if r.anonymous {
		config.ClientAuth = tls.NoClientCert
		return config, nil
	}
	config.ClientAuth = tls.RequireAnyClientCert
	config.VerifyConnection = func(state tls.ConnectionState) error {
		identified, err := judgeOf(offered[at], true)(s.source, state.PeerCertificates)
		if err != nil {
			return err
		}
		*peer = identified
		return r.allow(identified)
	}
	return config, nil
}

// agreed is the protocol of a connection after the handshake. A client that
// knows no ALPN speaks HTTP/1.1.
func agreed(conn *tls.Conn) string {
	if protocol := conn.ConnectionState().NegotiatedProtocol; protocol != "" {
		return protocol
	}
	return API1
}

func hostOf(conn net.Conn) string {
	address := conn.RemoteAddr().String()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// gate bounds the handshakes that run at once.
type gate struct {
	slots   chan struct{}
	perHost int

	mu    sync.Mutex
	hosts map[string]int
}

func newGate(total, perHost int) *gate {
	return &gate{slots: make(chan struct{}, total), perHost: perHost, hosts: map[string]int{}}
}

// enter waits for a slot; a host that holds its share already is refused. The
// caller leaves when it is done.
func (g *gate) enter(ctx context.Context, host string) (leave func(), err error) {
	g.mu.Lock()
	if g.hosts[host] >= g.perHost {
		g.mu.Unlock()
		return nil, fmt.Errorf("%d handshakes with %s are running already", g.perHost, host)
	}
	g.hosts[host]++
	g.mu.Unlock()
	select {
	case g.slots <- struct{}{}:
		return func() {
			<-g.slots
			g.forget(host)
		}, nil
	case <-ctx.Done():
		g.forget(host)
		return nil, ctx.Err()
	}
}

// tryEnter is enter for who does not wait.
func (g *gate) tryEnter(host string) (leave func(), entered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hosts[host] >= g.perHost {
		return nil, false
	}
	select {
	case g.slots <- struct{}{}:
	default:
		return nil, false
	}
	g.hosts[host]++
	return func() {
		<-g.slots
		g.forget(host)
	}, true
}

func (g *gate) forget(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hosts[host]--; g.hosts[host] == 0 {
		delete(g.hosts, host)
	}
}
