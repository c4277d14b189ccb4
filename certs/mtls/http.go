package mtls

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	maxHeaderBytes = 32 << 10
	headerTimeout  = 10 * time.Second
	idleTimeout    = 5 * time.Minute
	// maxStreams of a connection are open at a time (RFC 9113, section 6.5.2, asks for
	// 100 at least). Who has more to ask waits at his own end, and costs nothing here.
	maxStreams = 100
	// writeTimeout ends a connection whose peer takes nothing at all.
	writeTimeout = 10 * time.Second
)

// newHTTP2 suits many small calls, long streams and tars of gigabytes.
func newHTTP2() *http2.Server {
	return &http2.Server{
		MaxConcurrentStreams:         maxStreams,
		MaxUploadBufferPerConnection: 8 << 20,
		MaxUploadBufferPerStream:     4 << 20,
		IdleTimeout:                  idleTimeout,
		ReadIdleTimeout:              15 * time.Second,
		PingTimeout:                  5 * time.Second,
		WriteByteTimeout:             writeTimeout,
	}
}

// newStrangersHTTP2 spends little on peers that nobody knows.
func newStrangersHTTP2() *http2.Server {
	return &http2.Server{
		MaxConcurrentStreams:         4,
		MaxUploadBufferPerConnection: 128 << 10,
		MaxUploadBufferPerStream:     64 << 10,
		IdleTimeout:                  headerTimeout,
		WriteByteTimeout:             writeTimeout,
	}
}

func (s *Server) serveHTTP2(ctx context.Context, server *http2.Server, conn *tls.Conn, handler http.Handler) {
	running := &calls{handler: handler}
	server.ServeConn(withHeads(conn), &http2.ServeConnOpts{Context: ctx, Handler: running, BaseConfig: s.http1(running)})
	running.wait()
}

func (s *Server) serveHTTP1(ctx context.Context, conn *tls.Conn, handler http.Handler) {
	server := s.http1(handler)
	server.BaseContext = func(net.Listener) context.Context { return ctx }
	listener := &oneConn{conn: conn, closed: make(chan struct{})}
	// The connection closes after its last handler has returned.
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
		// Not nil: the protocol is settled, nothing may switch to another.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
}

// calls counts the handlers of one connection: http2.Server does not wait for
// them.
type calls struct {
	handler http.Handler

	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

func (c *calls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.begin() {
		return // the connection ended before the call began
	}
	defer c.running.Done()
	makeRoom(r.Method)
	c.handler.ServeHTTP(w, r)
}

// stackRoom is what a call needs of its goroutine's stack, at most as a rule.
const stackRoom = 16 << 10

// makeRoom lets the stack grow once, while there is little on it. Else it grows
// by doubling, deep in the decoding of the call, and each time all of it is
// moved: 7 % of what a small write cost.
//
//go:noinline
func makeRoom(any string) byte {
	var room [stackRoom]byte
	return room[len(any)%stackRoom] // an index that the compiler does not know keeps it there
}

func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.running.Add(1)
	return true
}

// wait returns when no handler runs and none can begin.
func (c *calls) wait() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.running.Wait()
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
