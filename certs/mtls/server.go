package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"skerry.dev/certs"
)

const (
	handshakeTimeout = 5 * time.Second
	// maxHandshakes run at once; further connections wait in the kernel.
	maxHandshakes = 64
	// maxConnections are open at once.
	maxConnections = 4096
	maxHeaderBytes = 32 << 10
	headerTimeout  = 10 * time.Second
	idleTimeout    = 5 * time.Minute
	// acceptPause keeps a failing accept from spinning.
	acceptPause = 100 * time.Millisecond
)

// Allow judges a peer that has been identified; nil admits it.
type Allow func(certs.Peer) error

// Server serves all protocols of one port.
type Server struct {
	source Source
	logger *slog.Logger
	routes map[string]*route
	h2     *http2.Server
}

type route struct {
	allow Allow
	// anonymous: the peer needs no certificate.
	anonymous bool
	serve     func(ctx context.Context, conn *tls.Conn, peer certs.Peer)
}

// NewServer returns a server without protocols.
func NewServer(source Source, logger *slog.Logger) *Server {
	return &Server{
		source: source,
		logger: logger,
		routes: map[string]*route{},
		h2: &http2.Server{
			MaxConcurrentStreams: 1000,
			IdleTimeout:          idleTimeout,
			ReadIdleTimeout:      15 * time.Second,
			PingTimeout:          5 * time.Second,
		},
	}
}

// HandleHTTP serves HTTP on the protocols: HTTP/1.1 on API1, HTTP/2 on all
// others. A nil allow serves peers without certificate too.
func (s *Server) HandleHTTP(protocols []string, allow Allow, handler http.Handler) {
	for _, protocol := range protocols {
		r := &route{allow: allow, anonymous: allow == nil}
		if protocol == API1 {
			r.serve = func(ctx context.Context, conn *tls.Conn, peer certs.Peer) { s.serveHTTP1(ctx, conn, peer, handler) }
		} else {
			r.serve = func(ctx context.Context, conn *tls.Conn, peer certs.Peer) { s.serveHTTP2(ctx, conn, peer, handler) }
		}
		s.routes[protocol] = r
	}
}

// HandleConn serves bare connections on a protocol. The connection is closed
// when f returns, and when ctx ends.
func (s *Server) HandleConn(protocol string, allow Allow, f func(context.Context, net.Conn, certs.Peer)) {
	s.routes[protocol] = &route{allow: allow, serve: func(ctx context.Context, conn *tls.Conn, peer certs.Peer) {
		f(ctx, conn, peer)
	}}
}

// Serve takes connections until ctx ends; then it closes all of them and waits
// for their handlers.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // Accept returns what matters
	defer stop()
	handshakes := make(chan struct{}, maxHandshakes)
	connections := make(chan struct{}, maxConnections)
	for {
		connections <- struct{}{}
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("the listener on %s was closed: %w", listener.Addr(), err)
			}
			s.logger.Warn("a connection could not be accepted", "error", err)
			<-connections
			time.Sleep(acceptPause)
			continue
		}
		open.Go(func() {
			defer func() { <-connections }()
			s.serveConn(ctx, conn, handshakes)
		})
	}
}

func (s *Server) serveConn(ctx context.Context, conn net.Conn, handshakes chan struct{}) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // it is being given up
	defer stop()
	defer func() { _ = conn.Close() }() // nothing is owed to the peer any more
	handshakes <- struct{}{}
	secured, peer, err := s.handshake(ctx, conn)
	<-handshakes
	if err != nil {
		s.logger.Debug("a connection was refused", "from", conn.RemoteAddr(), "error", err)
		return
	}
	s.routes[secured.ConnectionState().NegotiatedProtocol].serve(ctx, secured, peer)
}

// handshake makes a connection secure and finds out who is at the other end.
func (s *Server) handshake(ctx context.Context, conn net.Conn) (*tls.Conn, certs.Peer, error) {
	var peer certs.Peer
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return s.configFor(hello.SupportedProtos, &peer)
		},
	}
	secured := tls.Server(conn, config)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, certs.Peer{}, err
	}
	return secured, peer, nil
}

// configFor chooses the protocol: the first one offered that is served.
func (s *Server) configFor(offered []string, peer *certs.Peer) (*tls.Config, error) {
	if len(offered) == 0 {
		offered = []string{API1} // a client without ALPN speaks HTTP/1.1
	}
	at := slices.IndexFunc(offered, func(protocol string) bool { return s.routes[protocol] != nil })
	if at < 0 {
		return nil, fmt.Errorf("none of the protocols %q is served", offered)
	}
	protocol := offered[at]
	r := s.routes[protocol]
	config := base(s.source, []string{protocol})
	config.ClientAuth = tls.RequireAnyClientCert
	if r.anonymous {
		config.ClientAuth = tls.NoClientCert
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if state.NegotiatedProtocol == "" && protocol != API1 {
			return errors.New("no protocol was agreed on")
		}
		if r.anonymous {
			return nil
		}
		identified, err := certs.VerifyPeer(state.PeerCertificates, s.source.Bundle(), s.source.Now())
		if err != nil {
			return err
		}
		*peer = identified
		return r.allow(identified)
	}
	return config, nil
}

func (s *Server) serveHTTP2(ctx context.Context, conn *tls.Conn, peer certs.Peer, handler http.Handler) {
	s.h2.ServeConn(conn, &http2.ServeConnOpts{
		Context:    WithPeer(ctx, peer),
		Handler:    handler,
		BaseConfig: s.http1(handler),
	})
}

func (s *Server) serveHTTP1(ctx context.Context, conn *tls.Conn, peer certs.Peer, handler http.Handler) {
	server := s.http1(handler)
	server.BaseContext = func(net.Listener) context.Context { return WithPeer(ctx, peer) }
	listener := &oneConn{conn: conn, closed: make(chan struct{})}
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			_ = listener.Close() // never fails
		}
	}
	// It always ends with the listener, by our own doing.
	_ = server.Serve(listener)
}

func (s *Server) http1(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
}

// oneConn is a listener that gives out one connection and then blocks until it
// is closed.
type oneConn struct {
	conn   net.Conn
	given  bool
	once   sync.Once
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.given {
		l.given = true
		return l.conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }
