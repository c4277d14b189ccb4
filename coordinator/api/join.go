package api

import (
	"context"
	"crypto/sha256"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// Join implements sitev1connect.JoinServiceHandler on a voter.
type Join struct {
	Log   Log
	Store *state.Store
	// Authority is the CA of this voter; nil while it has none.
	Authority func() *certs.Authority
	// Bundle is the newest of a view, verified.
	Bundle   func(*state.View) (*certs.Bundle, error)
	SiteTime SiteTime
	Rand     env.Rand
	// Refused counts refusals for the audit log.
	Refused Refused
}

// Trust returns what the caller does not know of the chain of trust.
func (j Join) Trust(_ context.Context, req *connect.Request[sitev1.TrustRequest]) (*connect.Response[sitev1.TrustResponse], error) {
	view := j.Store.View()
	page, more := certs.TrustPage(view.Trust(), req.Msg.GetAfter())
	return connect.NewResponse(&sitev1.TrustResponse{
		Versions: page, More: more, SiteEpoch: view.SiteEpoch(), Recovered: view.RecoverID(),
	}), nil
}

// Join uses up a token and issues an SVID. Only the coordinator does; another
// voter names it.
func (j Join) Join(ctx context.Context, req *connect.Request[sitev1.JoinRequest]) (*connect.Response[sitev1.JoinResponse], error) {
	from := counts.HostOf(req.Peer().Addr)
	response, err := j.join(ctx, req.Msg, from)
	if err != nil {
		countRefusal(j.Refused, "token", from, req.Spec().Procedure, err)
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(response), nil
}

func (j Join) join(ctx context.Context, req *sitev1.JoinRequest, from string) (*sitev1.JoinResponse, error) {
	status := j.Log.Status()
	if !status.Serving {
		return j.redirect(status)
	}
	key, err := certs.CheckJoinRequest(req.GetCsr())
	if err != nil {
		return nil, problem.New(problem.Invalid, "join", "the certificate request is not usable: %w", err)
	}
	change, err := j.change(req, certs.Fingerprint(key))
	if err != nil {
		return nil, err
	}
	// Walking the chain of trust costs a signature for each of its versions: not
	// for somebody without a token.
	authority := j.Authority()
	if authority == nil || !j.trusts(j.Store.View(), authority) {
		return nil, problem.New(problem.Unavailable, "join", "this coordinator's CA is not trusted by the site yet").
			WithHint("try again in a few seconds")
	}
	outcome, err := j.record(ctx, change, from)
	if err != nil {
		return nil, err
	}
	return j.issueAfter(req.GetAfter(), authority, key, outcome)
}

// issueAfter: with what follows the version of the chain of trust that is known. That
// is not much: it was asked for just before.
func (j Join) issueAfter(version uint64, authority *certs.Authority, key any, outcome *sitev1.Outcome) (*sitev1.JoinResponse, error) {
	response, err := j.issue(authority, key, outcome)
	if err == nil {
		response.Trust, _ = certs.TrustPage(j.Store.View().Trust(), version)
	}
	return response, err
}

// change that lets the joiner in, if its token does and it is a machine.
func (j Join) change(req *sitev1.JoinRequest, fingerprint []byte) (*sitev1.JoinSite, error) {
	hash := sha256.Sum256(req.GetSecret())
	node := req.GetNode()
	if node == nil {
		node = &skerryv1.Node{}
	}
	change := &sitev1.JoinSite{SecretHash: hash[:], KeyFingerprint: fingerprint, Node: node}
	if err := j.Store.View().CheckJoin(change); err != nil {
		return nil, err
	}
	if req.GetNode() != nil {
		if err := checkJoiner(node); err != nil {
			return nil, err
		}
	}
	// A number drawn here and fixed by the log: a repeated join gets the first.
	node.Id = newUUID(j.Rand)
	return change, nil
}

// record commits the join: from then on the token belongs to this key alone.
func (j Join) record(ctx context.Context, change *sitev1.JoinSite, from string) (*sitev1.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	outcome, err := j.Log.Propose(ctx, &sitev1.Entry{
		RequestId: newUUID(j.Rand),
		Principal: "token",
		From:      from,
		Change:    &sitev1.Entry_JoinSite{JoinSite: change},
	})
	if err != nil {
		return nil, err
	}
	return outcome, outcomeError(outcome)
}

func (j Join) issue(authority *certs.Authority, key any, outcome *sitev1.Outcome) (*sitev1.JoinResponse, error) {
	view := j.Store.View()
	stamp := j.SiteTime.Read()
	now := stamp.Time
	response := &sitev1.JoinResponse{Clock: stamp.Message()}
	var leaf []byte
	var err error
	if node := outcome.GetNode(); node != nil {
		leaf, err = authority.IssueNode(certs.NodeRequest{
			Name: node.GetName(), PublicKey: key, Addresses: ownAddresses(view, node), Lifetime: view.Lifetimes().Node,
		}, now)
		response.Role, response.Name, response.Node = "node", node.GetName(), node
		response.GossipKey = view.GossipKey()
		response.Peers = view.FirstPeers()
	} else {
		leaf, err = authority.IssueOperatorFor(outcome.GetOperator(), key, now, view.Lifetimes().Operator)
		response.Role, response.Name = "operator", outcome.GetOperator()
		response.Peers = view.FirstPeers()
	}
	if err != nil {
		return nil, problem.New(problem.Internal, "join", "the SVID could not be issued: %w", err)
	}
	response.Svid = [][]byte{leaf}
	return response, nil
}

func (j Join) redirect(status consensus.Status) (*sitev1.JoinResponse, error) {
	for _, node := range j.Store.View().Nodes() {
		if status.Leader != 0 && node.GetRaftId() == status.Leader && !status.IsLeader {
			return &sitev1.JoinResponse{Redirect: []string{node.GetAddress()}}, nil
		}
	}
	return nil, problem.New(problem.Unavailable, "join", "the site has no coordinator at this moment").
		WithHint("try again; if it stays so, see skerry status on a node of the site")
}

// trusts: the CA is in the newest trust version.
func (j Join) trusts(view *state.View, authority *certs.Authority) bool {
	bundle, err := j.Bundle(view)
	return err == nil && bundle.Has(authority.Certificate())
}
