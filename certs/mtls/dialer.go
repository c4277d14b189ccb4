package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// connectTimeout leaves room for one lost SYN.
	connectTimeout = 2 * time.Second
	// A peer that has said nothing for pingAfter is asked whether it lives, and
	// given up pingTimeout later: together below two seconds.
	pingAfter   = 800 * time.Millisecond
	pingTimeout = time.Second
	// Who joins, or was away for long, has nobody else to ask: a node that is slow
	// to answer, for all that it does, is better than none.
	joinerPingAfter   = 2 * time.Second
	joinerPingTimeout = 5 * time.Second
	// idleClient is how long a connection is kept that nobody uses. Each one is
	// pinged all the time.
	idleClient = time.Minute
	// maxAnswerHeader in bytes.
	maxAnswerHeader = 64 << 10
	// maxFrame lets blobs and tars come in fewer system calls.
	maxFrame = 1 << 20
)

// Dialer opens connections under one identity.
type Dialer struct {
	Net    env.Net
	Source Source

	hosts guests
}

// Learner is a Source that takes over newer versions of the chain of trust. A
// Dialer whose source is one learns from a peer that it cannot verify yet: this
// end may have been away while the site got new CAs, or its time was set back.
type Learner interface {
	Source
	// UpdateTrust accepts only what continues the chain that is known: a part of
	// the chain that may begin anywhere in what is known, or after it.
	UpdateTrust(versions []*sitev1.TrustVersion) error
}

// ExpectNode admits the named node, or any node when name is empty.
func ExpectNode(name string) Allow {
	return func(peer certs.Peer) error {
		if peer.Role == certs.RoleNode && (name == "" || peer.Name == name) {
			return nil
		}
		expected := "a node"
		if name != "" {
			expected = "node " + name
		}
		return problem.New(problem.Unauthenticated, peer.ID.String(), "%s was expected at this address", expected).
			WithHint("has the address been given to another machine?")
	}
}

// Dial connects to host:port and checks who answers. What the other side
// thinks of this one shows with the first Read: TLS 1.3 does not tell earlier.
func (d *Dialer) Dial(ctx context.Context, address, protocol string, expect Allow) (net.Conn, error) {
	conn, err := d.learnAndDial(ctx, address, protocol, expect)
	if err != nil {
		return nil, err
	}
	if err := giveUpUnacknowledged(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// learnAndDial dials, and once more after it has learned who may answer.
func (d *Dialer) learnAndDial(ctx context.Context, address, protocol string, expect Allow) (shielded, error) {
	conn, err := d.dial(ctx, address, protocol, expect)
	learner, learns := d.Source.(Learner)
	if !learns || !errors.Is(err, certs.ErrUnknownAuthority) && !errors.Is(err, certs.ErrExpired) {
		return conn, err
	}
	known := learner.Bundle()
	if learn(ctx, d.Net, address, learner) != nil || learner.Bundle() == known {
		return nil, err // nothing new was learned: the first error says what is wrong
	}
	return d.dial(ctx, address, protocol, expect)
}

func (d *Dialer) dial(ctx context.Context, address, protocol string, expect Allow) (shielded, error) {
	conn, err := connect(ctx, d.Net, address)
	if err != nil {
		return nil, err
	}
	config := base(d.Source, protocol)
	version, judged := d.Source.Bundle().Version(), judgeOf(protocol, false)
	config.InsecureSkipVerify = true // VerifyConnection does it, by SPIFFE's rules
	config.VerifyConnection = func(state tls.ConnectionState) error {
		peer, err := judged(d.Source, state.PeerCertificates)
		if err != nil {
			return err
		}
		return expect(peer)
	}
	secured, err := secure(ctx, conn, config, address)
	if err != nil {
		return nil, err
	}
	admitted, leave := d.hosts.enter(d.Source, judged, conn, secured.ConnectionState().PeerCertificates, version)
	if err := admitted.check(); err != nil {
		leave()
		return nil, err
	}
	return &outgoing{Conn: secured, address: address, source: d.Source, leave: leave}, nil
}

// Recheck cuts the connections to all who do not count any more, after a change
// of the chain of trust, and tells how many those were.
func (d *Dialer) Recheck() int { return d.hosts.recheck() }

// Learn asks the node at address for the chain of trust, when this end is
// refused: it may say why.
func (d *Dialer) Learn(ctx context.Context, address string) error {
	learner, ok := d.Source.(Learner)
	if !ok {
		return nil
	}
	return learn(ctx, d.Net, address, learner)
}

// learn asks the node at address for the chain of trust. The node proves
// nothing: the chain proves itself.
func learn(ctx context.Context, network env.Net, address string, learner Learner) error {
	joiner := NewJoiner(network, address)
	defer joiner.Client.CloseIdleConnections()
	known := learner.Bundle()
	versions, _, err := joiner.Trust(ctx, known.SiteID(), known)
	if err != nil {
		return err
	}
	return learner.UpdateTrust(versions)
}

func connect(ctx context.Context, network env.Net, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := network.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, problem.New(problem.Unavailable, address, "no connection: %w", err).
			WithHint("is the address right, and the agent there running?")
	}
	return conn, nil
}

func secure(ctx context.Context, conn net.Conn, config *tls.Config, address string) (*tls.Conn, error) {
	secured := tls.Client(conn, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // the handshake's error is the one to tell
		if problem.KindOf(err) != problem.Internal {
			return nil, err
		}
		return nil, problem.New(problem.Unavailable, address, "the TLS handshake failed: %w", err).
			WithHint("is it a Skerry agent that listens there?")
	}
	if protocol := config.NextProtos[0]; secured.ConnectionState().NegotiatedProtocol != protocol {
		_ = secured.Close() // the other error is the one to tell
		return nil, problem.New(problem.Unavailable, address, "it does not speak %s", protocol)
	}
	return secured, nil
}

// outgoing is a connection that explains why the other side refused it.
type outgoing struct {
	*tls.Conn
	address string
	source  Source
	leave   func()
}

// Close implements net.Conn.
func (c *outgoing) Close() error {
	c.leave()
	return c.Conn.Close()
}

func (c *outgoing) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	var alert *net.OpError
	if err == nil || !errors.As(err, &alert) || alert.Op != "remote error" {
		return n, err
	}
	refused := problem.New(problem.Unauthenticated, c.address, "it refused this identity: %w", err).
		WithHint("its log says why; is this one allowed to do that, and of the same site?")
	if leaf := c.source.Certificate().Leaf; leaf != nil && c.source.Now().After(leaf.NotAfter) {
		refused = refused.WithHint("the certificate of this side expired on %s; it is renewed as soon as a voter answers",
			leaf.NotAfter.Format(time.DateOnly))
	}
	return n, refused
}

// HTTPClient returns a client for one protocol over HTTP/2; connections are
// kept and shared, a dead peer is noticed within two seconds.
func (d *Dialer) HTTPClient(protocol string, expect Allow) *http.Client {
	return httpClient(pingAfter, pingTimeout, func(ctx context.Context, address string) (shielded, error) {
		return d.learnAndDial(ctx, address, protocol, expect)
	})
}

func httpClient(pingAfter, pingTimeout time.Duration, dial func(ctx context.Context, address string) (shielded, error)) *http.Client {
	return &http.Client{
		Transport: &http2.Transport{
			DialTLSContext: func(ctx context.Context, _, address string, _ *tls.Config) (net.Conn, error) {
				conn, err := dial(ctx, address)
				if err != nil {
					return nil, err
				}
				return withHeads(conn), nil
			},
			ReadIdleTimeout:    pingAfter,
			PingTimeout:        pingTimeout,
			WriteByteTimeout:   writeTimeout,
			IdleConnTimeout:    idleClient,
			MaxReadFrameSize:   maxFrame,
			MaxHeaderListSize:  maxAnswerHeader,
			DisableCompression: true,
		},
		// Nothing of ours redirects by HTTP.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
