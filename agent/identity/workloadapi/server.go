// Package workloadapi is the SPIFFE Workload API of a node, on one Unix socket.
// Who calls is known by the kernel and by the container that the process is in;
// what it gets is the identity of that placement and nothing else.
//
// It is served by Connect's implementation of gRPC, as all else on a node.
package workloadapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"skerry.dev/agent/identity/workloads"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// maxConnections are open at once, maxOfPlacement of them by one placement:
	// a client needs one.
	maxConnections = 1024
	maxOfPlacement = 32
	// maxRefused are open at once, each for refusedTime: long enough to be told
	// why, and no way to keep others out.
	maxRefused  = 64
	refusedTime = 3 * time.Second
	// maxStreams of one connection.
	maxStreams = 16
	// maxHeader and maxRequest bound what a caller sends, in bytes.
	maxHeader  = 16 << 10
	maxRequest = 64 << 10
	// attestTime bounds the question who a caller is.
	attestTime = 5 * time.Second
	// checkEvery is how often it is made sure that a caller still is who it was.
	checkEvery   = time.Second
	idleTime     = 5 * time.Minute
	writeTimeout = 10 * time.Second
)

// Placement names one placement of this node.
type Placement struct{ Project, Name string }

// Source is what the node knows.
type Source interface {
	// Entitled returns an error, for the caller, unless the placement runs here
	// and its workload asks for an identity.
	Entitled(Placement) error
	// SVID is nil while there is none yet.
	SVID(Placement) *workloads.SVID
	Bundle() *certs.Bundle
	// ID is the SPIFFE ID of a placement that is entitled to one.
	ID(Placement) (string, error)
	// JWT has a JWT-SVID issued, or gives one that still counts.
	JWT(ctx context.Context, p Placement, audience []string) (workloads.Token, error)
	// Now is site time.
	Now() time.Time
	News() News
}

// News are channels that are closed when what they are named after changes.
type News struct{ Orders, SVIDs, Bundle <-chan struct{} }

// Config of a server. All fields are required.
type Config struct {
	// Dir is the directory of the socket; it holds nothing else.
	Dir string
	// Attest tells of which placement a process is.
	Attest func(ctx context.Context, pid int) (Placement, error)
	Source Source
	Env    env.System
	Logger *slog.Logger
}

// Server serves one node's socket.
type Server struct {
	Config
	handler http.Handler
	h2      *http2.Server

	refused chan struct{}

	mu   sync.Mutex
	open map[Placement]int
}

// New returns a server; it starts nothing.
func New(config Config) *Server {
	s := &Server{Config: config, open: map[Placement]int{}, refused: make(chan struct{}, maxRefused), h2: &http2.Server{
		MaxConcurrentStreams:         maxStreams,
		MaxUploadBufferPerConnection: 128 << 10,
		MaxUploadBufferPerStream:     64 << 10,
		IdleTimeout:                  idleTime,
		WriteByteTimeout:             writeTimeout,
	}}
	s.handler = s.routes()
	return s
}

// Run serves until ctx ends, then closes all connections and waits for their
// handlers. The directory stays the same: it is mounted into containers.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return problem.New(problem.Internal, s.Dir, "the Workload API cannot listen: %w", err)
	}
	return mtls.Accept(ctx, listener, maxConnections, func(err error) {
		s.Logger.Warn("a connection to the Workload API could not be accepted", "error", err)
	}, s.serve)
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if err := s.Env.FS.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(s.Dir, manifest.IdentitySocket)
	if err := s.Env.FS.Remove(path); err != nil { // of an agent that was killed
		return nil, err
	}
	listener, err := s.Env.Net.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	// Any user in a container may ask; who asks is found out otherwise. The
	// agent's umask lets nobody.
	if err := errors.Join(os.Chmod(s.Dir, 0o755), os.Chmod(path, 0o666)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// serve one connection for as long as its caller lives.
func (s *Server) serve(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // it is being given up
	defer stop()
	defer func() { _ = conn.Close() }() // nothing is owed to the caller any more
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	session := &session{server: s}
	defer session.leave()
	session.begin(ctx, conn)
	if session.refused != nil {
		select {
		case s.refused <- struct{}{}:
			defer func() { <-s.refused }()
		default:
			return // there are enough to be told why
		}
	}
	watching.Go(func() {
		session.watch(ctx)
		cancel()
	})
	running := &handlers{next: s.handler}
	s.h2.ServeConn(conn, &http2.ServeConnOpts{
		Context: context.WithValue(ctx, sessionKey{}, session), Handler: running,
		BaseConfig: &http.Server{MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug)},
	})
	cancel()
	running.wait()
}

// enter counts a connection of a placement; an error when it has enough.
func (s *Server) enter(who Placement) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who] >= maxOfPlacement {
		return problem.New(problem.Exhausted, "Placement/"+who.Name, "it has %d connections to the Workload API already", maxOfPlacement).
			WithHint("one connection serves all of a program's identities: keep it")
	}
	s.open[who]++
	return nil
}

func (s *Server) leave(who Placement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[who]--; s.open[who] == 0 {
		delete(s.open, who)
	}
}

// handlers counts those of one connection: http2.Server does not wait for them.
type handlers struct {
	next http.Handler

	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

func (h *handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	if h.ended {
		h.mu.Unlock()
		return // the connection ended before the call began
	}
	h.running.Add(1)
	h.mu.Unlock()
	defer h.running.Done()
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r.Body, maxRequest), r.Body}
	h.next.ServeHTTP(w, r)
}

// wait returns when no handler runs and none can begin.
func (h *handlers) wait() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.running.Wait()
}
