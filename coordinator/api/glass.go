package api

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// BreakGlass implements sitev1connect.BreakGlassServiceHandler on a voter, for
// the agents of voters, which ask on behalf of root on their machines. A voter
// has a CA: what its root may here, its root could anyway, but nobody would see
// it.
type BreakGlass struct{ Join }

// CreateOperator records an operator and issues its SVID.
func (b BreakGlass) CreateOperator(ctx context.Context, req *connect.Request[sitev1.CreateOperatorRequest]) (*connect.Response[sitev1.JoinResponse], error) {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer is nobody on record
	response, err := b.create(ctx, peer, req.Msg)
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(response), nil
}

// fromRoot is from where the audit log says that such a call came.
func fromRoot(node string) string { return "local root on " + node }

func (b BreakGlass) create(ctx context.Context, peer certs.Peer, req *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error) {
	if peer.Role != certs.RoleNode {
		return nil, problem.New(problem.Forbidden, peer.ID.String(), "only the agents of voters may ask for this")
	}
	view := b.Store.View()
	if err := checkRecord(view, peer); err != nil {
		return nil, err
	}
	if view.Node(peer.Name).GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER { // before it fills the log with refusals
		return nil, problem.New(problem.Forbidden, "Node/"+peer.Name, "it is no voter of the site").WithHint("run it on a voter")
	}
	status := b.Log.Status()
	if !status.Serving {
		return b.redirect(status)
	}
	key, err := certs.CheckJoinRequest(req.GetCsr())
	if err != nil {
		return nil, problem.New(problem.Invalid, "Operator/"+req.GetName(), "the certificate request is not usable: %w", err).WithField("csr")
	}
	authority := b.Authority()
	if authority == nil || !b.trusts(view, authority) {
		return nil, problem.New(problem.Unavailable, "Operator/"+req.GetName(), "this coordinator's CA is not trusted by the site yet").
			WithHint("try again in a few seconds")
	}
	outcome, err := b.commit(ctx, peer, &sitev1.CreateLocalOperator{
		Name: req.GetName(), KeyFingerprint: certs.Fingerprint(key), Node: peer.Name,
		Grants: []*skerryv1.Grant{{Role: req.GetRole()}},
	})
	if err != nil {
		return nil, err
	}
	return b.issueAfter(req.GetAfter(), authority, key, outcome)
}

func (b BreakGlass) commit(ctx context.Context, peer certs.Peer, change *sitev1.CreateLocalOperator) (*sitev1.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	outcome, err := b.Log.Propose(ctx, &sitev1.Entry{
		RequestId: newUUID(b.Rand), Principal: peer.ID.String(), From: fromRoot(peer.Name),
		Change: &sitev1.Entry_CreateLocalOperator{CreateLocalOperator: change},
	})
	if err != nil {
		return nil, err
	}
	return outcome, outcomeError(outcome)
}

// brokenGlass says which operators root has made of late: if nobody of the
// site's people did, somebody is root who should not be.
func brokenGlass(broken []*sitev1.BrokenGlass) []string {
	var found []string
	for _, b := range broken {
		found = append(found, fmt.Sprintf("root on %s has made operator %s at %s: if none of you did, skerry node evict %s and skerry operator revoke %s",
			b.GetNode(), b.GetOperator(), b.GetTime().AsTime().Format("2006-01-02 15:04:05 MST"), b.GetNode(), b.GetOperator()))
	}
	return found
}
