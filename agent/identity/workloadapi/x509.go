package workloadapi

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/wire"
)

// header that every call must carry: a browser or a proxy that was talked into
// calling does not know it (SPIFFE Workload API, section 6.1).
const header = "workload.spiffe.io"

// firstTime is how long a caller waits for its first SVID before it is told that
// there is none yet.
const firstTime = 10 * time.Second

// errEnds is for who still listens when the agent ends. Not that the call was
// cancelled: clients take that for their own doing and do not come back.
var errEnds = problem.New(problem.Unavailable, "Workload API", "the agent of this node ends").
	WithHint("call again: the next agent answers at the same address")

// routes puts the calls together.
func (s *Server) routes() http.Handler {
	options := []connect.HandlerOption{wire.Bounded(maxRequest)}
	mux := http.NewServeMux()
	mux.Handle(workload.SpiffeWorkloadAPI_FetchX509SVID_FullMethodName,
		connect.NewServerStreamHandler(workload.SpiffeWorkloadAPI_FetchX509SVID_FullMethodName, s.fetchX509SVID, options...))
	mux.Handle(workload.SpiffeWorkloadAPI_FetchX509Bundles_FullMethodName,
		connect.NewServerStreamHandler(workload.SpiffeWorkloadAPI_FetchX509Bundles_FullMethodName, s.fetchX509Bundles, options...))
	mux.Handle(workload.SpiffeWorkloadAPI_FetchJWTSVID_FullMethodName,
		connect.NewUnaryHandler(workload.SpiffeWorkloadAPI_FetchJWTSVID_FullMethodName, s.fetchJWTSVID, options...))
	mux.Handle(workload.SpiffeWorkloadAPI_FetchJWTBundles_FullMethodName,
		connect.NewServerStreamHandler(workload.SpiffeWorkloadAPI_FetchJWTBundles_FullMethodName, s.fetchJWTBundles, options...))
	mux.Handle(workload.SpiffeWorkloadAPI_ValidateJWTSVID_FullMethodName,
		connect.NewUnaryHandler(workload.SpiffeWorkloadAPI_ValidateJWTSVID_FullMethodName, s.validateJWTSVID, options...))
	return guarded(mux)
}

// guarded lets only gRPC in.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			http.Error(w, "this is the SPIFFE Workload API: it speaks gRPC alone", http.StatusUnsupportedMediaType)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// caller is the session of a call that may go on.
func (s *Server) caller(ctx context.Context, head http.Header) (*session, error) {
	if values := head.Values(header); len(values) != 1 || values[0] != "true" {
		return nil, connect.NewError(connect.CodeInvalidArgument,
			problem.New(problem.Invalid, "call", "the header %s: true is missing", header))
	}
	session, ok := ctx.Value(sessionKey{}).(*session)
	if !ok {
		return nil, connect.NewError(connect.CodeInternal, problem.New(problem.Internal, "call", "the connection is of nobody"))
	}
	if err := session.check(ctx); err != nil {
		s.Logger.Debug("a call to the Workload API was refused", "error", err)
		return nil, problem.ToConnect(err)
	}
	return session, nil
}

func (s *Server) fetchX509SVID(ctx context.Context, req *connect.Request[workload.X509SVIDRequest], stream *connect.ServerStream[workload.X509SVIDResponse]) error {
	session, err := s.caller(ctx, req.Header())
	if err != nil {
		return err
	}
	return follow(ctx, session, func() (*workload.X509SVIDResponse, error) {
		svid := s.Source.SVID(session.placement)
		if svid == nil {
			return nil, nil
		}
		return &workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
			SpiffeId: svid.ID, X509Svid: bytes.Join(svid.Chain, nil), X509SvidKey: svid.Key, Bundle: encode(s.Source.Bundle()),
		}}}, nil
	}, stream.Send)
}

func (s *Server) fetchX509Bundles(ctx context.Context, req *connect.Request[workload.X509BundlesRequest], stream *connect.ServerStream[workload.X509BundlesResponse]) error {
	session, err := s.caller(ctx, req.Header())
	if err != nil {
		return err
	}
	return follow(ctx, session, func() (*workload.X509BundlesResponse, error) {
		bundle := s.Source.Bundle()
		return &workload.X509BundlesResponse{Bundles: map[string][]byte{"spiffe://" + bundle.Site(): encode(bundle)}}, nil
	}, stream.Send)
}

func encode(bundle *certs.Bundle) []byte {
	var ders []byte
	for _, authority := range bundle.Authorities() {
		ders = append(ders, authority.Raw...)
	}
	return ders
}

// follow sends what there is, and again whenever it has changed, until the
// caller is not entitled any more.
func follow[T proto.Message](ctx context.Context, session *session, look func() (T, error), send func(T) error) error {
	server := session.server
	clock := server.Env.Clock
	first := clock.Elapsed() + firstTime
	timer := clock.NewTimer(0)
	defer timer.Stop()
	var sent proto.Message
	for {
		news := server.Source.News()
		if err := server.Source.Entitled(session.placement); err != nil {
			return problem.ToConnect(err)
		}
		next, err := look()
		if err != nil {
			return problem.ToConnect(err)
		}
		switch there := next.ProtoReflect().IsValid(); {
		case there && (sent == nil || !proto.Equal(sent, next)):
			if err := send(next); err != nil {
				return err
			}
			sent = next
		case !there && sent == nil && clock.Elapsed() >= first:
			return problem.ToConnect(problem.New(problem.Unavailable, "Placement/"+session.placement.Name, "it has no identity yet: no voter issued one").
				WithHint("it is asked for until one does; skerry status tells whether the site has a quorum"))
		}
		timer.Reset(checkEvery)
		select {
		case <-news.Orders:
		case <-news.SVIDs:
		case <-news.Bundle:
		case <-timer.C():
		case <-ctx.Done():
			return problem.ToConnect(errEnds)
		}
	}
}
