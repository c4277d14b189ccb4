// Package issuer gives nodes the X.509-SVIDs of the placements that are bound to
// them. Every voter does, with its own CA; no key of a workload ever comes here.
package issuer

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/dispatcher"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// MaxRequests of one call.
const MaxRequests = 64

// freshTime bounds the wait for a majority.
const freshTime = 2 * time.Second

// Config of an issuer. All fields but Refused are required.
type Config struct {
	// ReadIndex waits until the local state is as new as the log was when it
	// was called: a voter that is cut off issues nothing.
	ReadIndex func(context.Context) (uint64, error)
	Store     *state.Store
	// Bundle of the newest version of the chain of trust.
	Bundle func(*state.View) (*certs.Bundle, error)
	// Authority is the CA of this voter; nil while it has none.
	Authority func() *certs.Authority
	// JwtSigner signs with a key that a bundle names; nil while there is none.
	JwtSigner func(*certs.Bundle) *certs.JwtSigner
	// Now is site time.
	Now func() time.Time
	// Refused is told what a node was refused among what it asked for; may be nil.
	Refused func(node, from, procedure string, err error)
}

// Issuer implements sitev1connect.WorkloadIdentityServiceHandler.
type Issuer struct{ Config }

// IssueSvids issues what the caller is entitled to, and says of the rest why it
// is not.
func (i Issuer) IssueSvids(ctx context.Context, req *connect.Request[sitev1.IssueSvidsRequest]) (*connect.Response[sitev1.IssueSvidsResponse], error) {
	peer, ok := mtls.PeerFrom(ctx)
	if !ok || peer.Role != certs.RoleNode {
		return nil, problem.ToConnect(problem.New(problem.Forbidden, "identity", "only nodes may ask for identities of workloads"))
	}
	guard.From(ctx) // the call is decided here: Entitled judges each placement
	response, err := i.issue(ctx, peer, req.Msg.GetRequests(), func(err error) {
		if i.Refused != nil {
			i.Refused(peer.ID.String(), req.Peer().Addr, req.Spec().Procedure, err)
		}
	})
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(response), nil
}

func (i Issuer) issue(ctx context.Context, peer certs.Peer, requests []*sitev1.SvidRequest, refused func(error)) (*sitev1.IssueSvidsResponse, error) {
	if len(requests) > MaxRequests {
		return nil, problem.New(problem.Invalid, "identity", "%d requests in one call, at most %d are taken", len(requests), MaxRequests)
	}
	authority, view, err := i.ready(ctx)
	if err != nil {
		return nil, err
	}
	if err := dispatcher.CheckNode(view, peer); err != nil {
		return nil, err
	}
	response := &sitev1.IssueSvidsResponse{}
	for _, request := range requests {
		issued := &sitev1.IssuedSvid{}
		if leaf, err := i.one(authority, view, peer, request); err != nil {
			issued.Refused = err.Error()
			refused(err)
		} else {
			issued.Svid = [][]byte{leaf}
		}
		response.Svids = append(response.Svids, issued)
	}
	return response, nil
}

// fresh returns a state that is up to date.
func (i Issuer) fresh(ctx context.Context) (*state.View, error) {
	ctx, cancel := context.WithTimeout(ctx, freshTime)
	defer cancel()
	if _, err := i.ReadIndex(ctx); err != nil {
		return nil, problem.New(problem.Unavailable, "identity", "this voter reaches no majority of the voters: %w", err).
			WithHint("try another voter")
	}
	return i.Store.View(), nil
}

// ready returns a CA that the site trusts and a state that is up to date.
func (i Issuer) ready(ctx context.Context) (*certs.Authority, *state.View, error) {
	view, err := i.fresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	authority := i.Authority()
	if authority != nil {
		if bundle, err := i.Bundle(view); err == nil && bundle.Has(authority.Certificate()) {
			return authority, view, nil
		}
	}
	return nil, nil, problem.New(problem.Unavailable, "identity", "the CA of this voter is not trusted by the site yet").
		WithHint("try another voter")
}

func (i Issuer) one(authority *certs.Authority, view *state.View, node certs.Peer, request *sitev1.SvidRequest) ([]byte, error) {
	placement, err := Entitled(view, node.Name, request.GetProject(), request.GetPlacement())
	if err != nil {
		return nil, err
	}
	key, err := certs.CheckJoinRequest(request.GetCsr())
	if err != nil {
		return nil, problem.New(problem.Invalid, subject(request.GetPlacement()), "the certificate request is not usable: %w", err)
	}
	return authority.IssueWorkload(placement.GetProject(), placement.GetWorkload(), node.KeyFingerprint, key, i.Now(), view.Lifetimes().Workload)
}
