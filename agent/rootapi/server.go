// Package rootapi is what root on the machine of a node may ask of its agent,
// over a Unix socket that is only root's: to make an operator when the
// credentials of all others are lost.
//
// It decides who calls, call by call; what comes of it, the coordinator decides.
package rootapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/wire"
)

const (
	// maxConnections are open at once.
	maxConnections = 8
	// maxHeader and maxRequest bound what a caller sends, in bytes.
	maxHeader  = 16 << 10
	maxRequest = 64 << 10
	readTime   = 5 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = 30 * time.Second
	// endTime bounds the wait for calls that are being answered.
	endTime = 5 * time.Second
)

// Site answers what root may ask.
type Site interface {
	CreateOperator(ctx context.Context, request *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error)
}

// Config of a server. All fields are required.
type Config struct {
	// Path of the socket.
	Path   string
	Site   Site
	Env    env.System
	Logger *slog.Logger
}

// Server serves one node's socket.
type Server struct {
	Config
	handler http.Handler
}

// New returns a server; it starts nothing.
func New(config Config) *Server {
	s := &Server{Config: config}
	mux := http.NewServeMux()
	mux.Handle(sitev1connect.NewBreakGlassServiceHandler(handler{s},
		wire.Bounded(maxRequest), connect.WithInterceptors(guard.New(guard.Config{Who: caller}))))
	s.handler = mux
	return s
}

// Run serves until ctx ends, and waits for what is being answered.
func (s *Server) Run(ctx context.Context) error {
	listener, err := s.listen(ctx)
	if err != nil {
		return problem.New(problem.Internal, s.Path, "the socket for root cannot listen: %w", err)
	}
	server := &http.Server{
		Handler: s.handler, BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: withConn,
		ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(bounded(listener)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	endCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	if err := server.Shutdown(endCtx); err != nil {
		_ = server.Close() // their callers have not read for seconds
	}
	<-ended
	return ctx.Err()
}

func (s *Server) listen(ctx context.Context) (net.Listener, error) {
	if err := s.Env.FS.MkdirAll(filepath.Dir(s.Path), 0o755); err != nil {
		return nil, err
	}
	if err := s.Env.FS.Remove(s.Path); err != nil { // of an agent that was killed
		return nil, err
	}
	listener, err := s.Env.Net.Listen(ctx, "unix", s.Path)
	if err != nil {
		return nil, err
	}
	// Also where the umask would let others in; whoever came before is asked who
	// it is, as everybody.
	if err := os.Chmod(s.Path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// handler implements sitev1connect.BreakGlassServiceHandler.
type handler struct{ *Server }

func (h handler) CreateOperator(ctx context.Context, req *connect.Request[sitev1.CreateOperatorRequest]) (*connect.Response[sitev1.JoinResponse], error) {
	response, err := h.Site.CreateOperator(ctx, req.Msg)
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(response), nil
}
