package workloadapi

import (
	"context"

	"connectrpc.com/connect"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"google.golang.org/protobuf/types/known/structpb"

	"skerry.dev/certs"
	"skerry.dev/shared/problem"
)

// fetchJWTSVID answers with a JWT-SVID for the audience that was named. There is
// one identity a caller: asked for another, it gets nothing.
func (s *Server) fetchJWTSVID(ctx context.Context, req *connect.Request[workload.JWTSVIDRequest]) (*connect.Response[workload.JWTSVIDResponse], error) {
	session, err := s.caller(ctx, req.Header())
	if err != nil {
		return nil, err
	}
	if err := certs.CheckAudience(req.Msg.GetAudience()); err != nil {
		return nil, problem.ToConnect(err)
	}
	if asked := req.Msg.GetSpiffeId(); asked != "" {
		if id, err := s.Source.ID(session.placement); err != nil || id != asked {
			return nil, problem.ToConnect(problem.New(problem.Forbidden, "Placement/"+session.placement.Name, "it is not %.300q", asked).
				WithHint("name no subject: a placement has one identity"))
		}
	}
	token, err := s.Source.JWT(ctx, session.placement, req.Msg.GetAudience())
	if ctx.Err() != nil {
		return nil, problem.ToConnect(errEnds)
	}
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(&workload.JWTSVIDResponse{Svids: []*workload.JWTSVID{{SpiffeId: token.ID, Svid: token.JWT}}}), nil
}

func (s *Server) fetchJWTBundles(ctx context.Context, req *connect.Request[workload.JWTBundlesRequest], stream *connect.ServerStream[workload.JWTBundlesResponse]) error {
	session, err := s.caller(ctx, req.Header())
	if err != nil {
		return err
	}
	return follow(ctx, session, func() (*workload.JWTBundlesResponse, error) {
		bundle := s.Source.Bundle()
		keys, err := bundle.JWKS()
		if err != nil {
			return nil, err
		}
		return &workload.JWTBundlesResponse{Bundles: map[string][]byte{"spiffe://" + bundle.Site(): keys}}, nil
	}, stream.Send)
}

// validateJWTSVID judges a token at site time, for those who cannot.
func (s *Server) validateJWTSVID(ctx context.Context, req *connect.Request[workload.ValidateJWTSVIDRequest]) (*connect.Response[workload.ValidateJWTSVIDResponse], error) {
	if _, err := s.caller(ctx, req.Header()); err != nil {
		return nil, err
	}
	svid, err := s.Source.Bundle().ValidateJwt(req.Msg.GetSvid(), req.Msg.GetAudience(), s.Source.Now())
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	claims, err := structpb.NewStruct(svid.Claims)
	if err != nil {
		return nil, problem.ToConnect(problem.New(problem.Invalid, "JWT-SVID", "its claims cannot be told: %w", err))
	}
	return connect.NewResponse(&workload.ValidateJWTSVIDResponse{SpiffeId: svid.ID.String(), Claims: claims}), nil
}
