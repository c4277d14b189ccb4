package issuer

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/dispatcher"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// IssueJwtSvid issues a JWT-SVID for a placement that is bound to the caller, on
// the same terms as an X.509-SVID.
func (i Issuer) IssueJwtSvid(ctx context.Context, req *connect.Request[sitev1.IssueJwtSvidRequest]) (*connect.Response[sitev1.IssueJwtSvidResponse], error) {
	peer, ok := mtls.PeerFrom(ctx)
	if !ok || peer.Role != certs.RoleNode {
		return nil, problem.ToConnect(problem.New(problem.Forbidden, "identity", "only nodes may ask for identities of workloads"))
	}
	guard.From(ctx) // the call is decided here: Entitled judges the placement
	response, err := i.issueJwt(ctx, peer, req.Msg)
	if err != nil {
		if i.Refused != nil && problem.KindOf(err) == problem.Forbidden {
			i.Refused(peer.ID.String(), req.Peer().Addr, req.Spec().Procedure, err)
		}
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(response), nil
}

func (i Issuer) issueJwt(ctx context.Context, peer certs.Peer, request *sitev1.IssueJwtSvidRequest) (*sitev1.IssueJwtSvidResponse, error) {
	if err := certs.CheckAudience(request.GetAudience()); err != nil {
		return nil, err
	}
	view, err := i.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if err := dispatcher.CheckNode(view, peer); err != nil {
		return nil, err
	}
	placement, err := Entitled(view, peer.Name, request.GetProject(), request.GetPlacement())
	if err != nil {
		return nil, err
	}
	bundle, err := i.Bundle(view)
	if err != nil {
		return nil, err
	}
	signer := i.JwtSigner(bundle)
	if signer == nil {
		return nil, problem.New(problem.Unavailable, "identity", "the key with which this voter signs JWT-SVIDs is not known to the site yet").
			WithHint("try another voter")
	}
	token, expires, err := signer.Issue(view.Site(), placement.GetProject(), placement.GetWorkload(), request.GetAudience(), i.Now())
	if err != nil {
		return nil, err
	}
	return &sitev1.IssueJwtSvidResponse{Token: token, Expires: timestamppb.New(expires)}, nil
}
