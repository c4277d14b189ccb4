package mtls

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"

	"skerry.dev/certs"
)

const (
	// handshakeTimeout runs from the moment a connection was taken.
	handshakeTimeout = 5 * time.Second
	// maxHandshakes run at once, maxHandshakesPerHost of them with one host, so
	// that one machine that hangs or scans leaves room for the others.
	maxHandshakes        = 512
	maxHandshakesPerHost = 64
	// maxConnections are open at once; further ones wait in the kernel. A site has
	// at most 10,000 nodes, each with one stream and now and then another call.
	maxConnections = 16384
	// maxStrangers are open at once on each protocol whose peers have proved
	// nothing, maxStrangersPerHost of them with one host, each for at most
	// strangerTime.
	maxStrangers        = 64
	maxStrangersPerHost = 48
	strangerTime        = time.Minute
)

// Allow judges a peer that has been identified; nil admits it.
type Allow func(certs.Peer) error

// Server serves all protocols of one port.
type Server struct {
	source Source
	logger *slog.Logger
	routes map[string]*route
	h2     *http2.Server
	gate   *gate
	guests guests
	// refusals tells of connections that were refused.
	refusals *refusals
}

// route is how one protocol is served.
type route struct {
	allow Allow
	// anonymous: the peer needs no certificate.
	anonymous bool
	// slots bound what peers that have proved nothing hold open; nil for no
	// bound of its own.
	slots *gate
	serve func(ctx context.Context, conn *tls.Conn, admitted *guest)
}

// NewServer returns a server without protocols.
func NewServer(source Source, logger *slog.Logger) *Server {
	return &Server{
		source:   source,
		logger:   logger,
		routes:   map[string]*route{},
		h2:       newHTTP2(),
		gate:     newGate(maxHandshakes, maxHandshakesPerHost),
		refusals: newRefusals(logger, time.Now),
	}
}

// HandleHTTP serves HTTP on the protocols: HTTP/1.1 on API1, HTTP/2 on all
// others. On Join peers need no certificate, and allow is nil; everywhere else
// it is required. All calls come before Serve.
func (s *Server) HandleHTTP(protocols []string, allow Allow, handler http.Handler) {
	for _, protocol := range protocols {
		r := s.route(protocol, allow)
		switch {
		case r.anonymous:
			strict := newStrangersHTTP2()
			r.serve = func(ctx context.Context, conn *tls.Conn, _ *guest) { s.serveHTTP2(ctx, strict, conn, handler) }
		case protocol == Renew:
			strict := newStrangersHTTP2()
			r.serve = func(ctx context.Context, conn *tls.Conn, admitted *guest) {
				s.serveHTTP2(ctx, strict, conn, admitted.onEveryCall(handler))
			}
		case protocol == API1:
			r.serve = func(ctx context.Context, conn *tls.Conn, admitted *guest) {
				s.serveHTTP1(ctx, conn, admitted.onEveryCall(handler))
			}
		default:
			r.serve = func(ctx context.Context, conn *tls.Conn, admitted *guest) {
				s.serveHTTP2(ctx, s.h2, conn, admitted.onEveryCall(handler))
			}
		}
	}
}

// HandleConn serves bare connections on a protocol. The connection is closed
// when f returns, and when ctx ends. All calls come before Serve.
func (s *Server) HandleConn(protocol string, allow Allow, f func(context.Context, net.Conn, certs.Peer)) {
	s.route(protocol, allow).serve = func(ctx context.Context, conn *tls.Conn, _ *guest) {
		peer, _ := PeerFrom(ctx) // there is one: the protocol is not anonymous
		f(ctx, conn, peer)
	}
}

func (s *Server) route(protocol string, allow Allow) *route {
	if (allow == nil) != (protocol == Join) {
		panic("mtls: " + protocol + " must say who is allowed; only " + Join + " takes strangers")
	}
	r := &route{allow: allow, anonymous: allow == nil}
	if protocol == Join || protocol == Renew {
		r.slots = newGate(maxStrangers, maxStrangersPerHost)
	}
	s.routes[protocol] = r
	return r
}

// Serve takes connections until ctx ends; then it closes all of them and waits
// for their handlers.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	return Accept(ctx, listener, maxConnections, func(err error) {
		s.logger.Warn("a connection could not be accepted", "error", err)
	}, s.serveConn)
}

// Recheck cuts the connections of all who do not count any more, after a change
// of the chain of trust, and tells how many those were. Their calls end with
// their connections.
func (s *Server) Recheck() int { return s.guests.recheck() }

// entrance is a connection that was let in.
type entrance struct {
	ctx   context.Context
	conn  *tls.Conn
	route *route
	guest *guest // nil where peers need no certificate
	leave []func()
}

// serveConn has little on its stack while the connection is served: there may be
// thousands of them, each of which keeps the goroutine for as long as it is open.
func (s *Server) serveConn(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // it is being given up
	defer stop()
	defer func() { _ = conn.Close() }() // nothing is owed to the peer any more
	in := &entrance{ctx: ctx}
	defer in.close()
	if s.admit(in, conn) {
		in.route.serve(in.ctx, in.conn, in.guest)
	}
}

func (in *entrance) close() {
	for _, leave := range in.leave {
		leave()
	}
}

// admit a connection after its handshake, or refuse it.
//
//go:noinline
func (s *Server) admit(in *entrance, conn net.Conn) bool {
	version := s.source.Bundle().Version()
	secured, peer, err := s.handshake(in.ctx, conn)
	if err != nil {
		if in.ctx.Err() == nil {
			s.refusals.note(hostOf(conn), err)
		}
		return false
	}
	in.conn, in.route = secured, s.routes[agreed(secured)]
	if in.route.slots != nil {
		leave, free := in.route.slots.tryEnter(hostOf(conn))
		if !free {
			s.logger.Warn("too many connections of peers that have proved nothing", "protocol", agreed(secured),
				"from", conn.RemoteAddr(), "limit", maxStrangers, "ofOneHost", maxStrangersPerHost)
			return false
		}
		limit := time.AfterFunc(strangerTime, func() { _ = conn.Close() }) // whatever it was doing, it had its time
		in.leave = append(in.leave, leave, func() { limit.Stop() })
	}
	if in.route.anonymous {
		return true
	}
	admitted, leave := s.guests.enter(s.source, judgeOf(agreed(secured), true), conn, secured.ConnectionState().PeerCertificates, version)
	in.leave = append(in.leave, leave)
	if err := admitted.check(); err != nil {
		s.refusals.note(hostOf(conn), err)
		return false
	}
	in.ctx, in.guest = WithPeer(in.ctx, peer), admitted
	return true
}
