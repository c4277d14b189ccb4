package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"skerry.dev/certs"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// A peer that has said nothing for pingAfter is asked whether it lives, and
	// given up after pingTimeout.
	pingAfter   = time.Second
	pingTimeout = time.Second
)

// Dialer opens connections under one identity.
type Dialer struct {
	Net    env.Net
	Source Source
}

// ExpectNode admits the named node, or any node when name is empty.
func ExpectNode(name string) Allow {
	return func(peer certs.Peer) error {
		if peer.Role != certs.RoleNode || (name != "" && peer.Name != name) {
			return problem.New(problem.Unauthenticated, peer.ID.String(), "node %q was expected at this address", name).
				WithHint("has the address been given to another machine?")
		}
		return nil
	}
}

// Dial connects to host:port and checks who answers.
func (d *Dialer) Dial(ctx context.Context, address, protocol string, expect Allow) (net.Conn, error) {
	conn, err := d.Net.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, problem.New(problem.Unavailable, address, "no connection: %w", err)
	}
	config := base(d.Source, []string{protocol})
	config.InsecureSkipVerify = true // VerifyConnection does it, by SPIFFE's rules
	config.VerifyConnection = func(state tls.ConnectionState) error {
		peer, err := certs.VerifyPeer(state.PeerCertificates, d.Source.Bundle(), d.Source.Now())
		if err != nil {
			return err
		}
		return expect(peer)
	}
	return secure(ctx, conn, config, address, protocol)
}

func secure(ctx context.Context, conn net.Conn, config *tls.Config, address, protocol string) (net.Conn, error) {
	secured := tls.Client(conn, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error is the one to tell
		if problem.KindOf(err) != problem.Internal {
			return nil, err
		}
		return nil, problem.New(problem.Unavailable, address, "the TLS handshake failed: %w", err)
	}
	if got := secured.ConnectionState().NegotiatedProtocol; got != protocol {
		_ = secured.Close() // the other error is the one to tell
		return nil, problem.New(problem.Unavailable, address, "it does not speak %s", protocol)
	}
	return secured, nil
}

// HTTPClient returns a client for one protocol over HTTP/2; connections are
// kept and shared, a dead peer is noticed within two seconds.
func (d *Dialer) HTTPClient(protocol string, expect Allow) *http.Client {
	return &http.Client{Transport: transport(func(ctx context.Context, address string) (net.Conn, error) {
		return d.Dial(ctx, address, protocol, expect)
	})}
}

func transport(dial func(ctx context.Context, address string) (net.Conn, error)) *http2.Transport {
	return &http2.Transport{
		DialTLSContext: func(ctx context.Context, _, address string, _ *tls.Config) (net.Conn, error) {
			return dial(ctx, address)
		},
		ReadIdleTimeout:  pingAfter,
		PingTimeout:      pingTimeout,
		WriteByteTimeout: 10 * time.Second,
		IdleConnTimeout:  idleTimeout,
		// Frames of 1 MiB carry blobs and tars in fewer system calls.
		MaxReadFrameSize: 1 << 20,
	}
}

// Joiner speaks to a site that it does not know yet. The server's certificate
// is kept, and checked by Verify once the chain of trust is known; nothing
// secret may be sent before.
type Joiner struct {
	// Client for the join protocol. It stays on one connection.
	Client *http.Client

	mu    sync.Mutex
	shown []*x509.Certificate
}

// NewJoiner returns a joiner for one address.
func NewJoiner(network env.Net, address string) *Joiner {
	j := &Joiner{}
	j.Client = &http.Client{Transport: transport(func(ctx context.Context, _ string) (net.Conn, error) {
		return j.dial(ctx, network, address)
	})}
	return j
}

func (j *Joiner) dial(ctx context.Context, network env.Net, address string) (net.Conn, error) {
	conn, err := network.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, problem.New(problem.Unavailable, address, "no connection: %w", err).
			WithHint("is the address right, and the agent there running?")
	}
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{Join},
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, // Verify does it, once the trust chain is known
		VerifyConnection: func(state tls.ConnectionState) error {
			j.mu.Lock()
			defer j.mu.Unlock()
			if j.shown != nil && !j.shown[0].Equal(state.PeerCertificates[0]) {
				return fmt.Errorf("%s showed another certificate than before", address)
			}
			j.shown = state.PeerCertificates
			return nil
		},
	}
	return secure(ctx, conn, config, address, Join)
}

// Verify checks the certificate that the server showed. All further
// connections must show the same one.
func (j *Joiner) Verify(bundle *certs.Bundle, now time.Time) (certs.Peer, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	peer, err := certs.VerifyPeer(j.shown, bundle, now)
	if err != nil {
		return certs.Peer{}, err
	}
	return peer, ExpectNode("")(peer)
}
