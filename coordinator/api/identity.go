package api

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const gossipKeyBytes = 32

// identities implements skerry.v1.IdentityService.
type identities struct{ *Server }

// EvictNode takes a node out of the site. The other voters refuse it from the
// moment on in which they apply the entry, all other nodes when the chain of
// trust names its key, a moment later.
func (i identities) EvictNode(ctx context.Context, req *connect.Request[skerryv1.EvictNodeRequest]) (*connect.Response[skerryv1.EvictNodeResponse], error) {
	name := req.Msg.GetNode()
	if err := i.mayLose(name); err != nil {
		return nil, err
	}
	_, err := i.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_EvictNode{
		EvictNode: &sitev1.EvictNode{Node: name, Off: req.Msg.GetOff(), Weighed: req.Msg.GetOff()},
	}})
	if err != nil {
		return nil, err
	}
	view := i.Store.View()
	response := &skerryv1.EvictNodeResponse{Freshness: i.freshness(view, true)}
	for _, p := range view.PlacementsOn(name) {
		response.Staying = append(response.Staying, p.GetName())
	}
	return connect.NewResponse(response), nil
}

// mayLose refuses what would leave the site without a quorum: with it goes
// every means to repair anything. The entry is checked once more by the state,
// which does not know who is up.
func (i identities) mayLose(name string) error {
	view := i.Store.View()
	node := view.Node(name)
	if node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return nil
	}
	up, all := votersWithout(view, name)
	if 2*up > all {
		return nil
	}
	return problem.New(problem.Conflict, "Node/"+name, "without it %d of %d voters would be up, which is no quorum: nothing could be changed any more", up, all).
		WithHint("bring the lost voters back first, or let another node join and wait until it votes: skerry node list")
}

// votersWithout counts the voters that would be up without a node, and all of
// them.
func votersWithout(view *state.View, name string) (up, all int) {
	for _, voter := range view.Voters() {
		all++
		if voter.GetName() != name && voter.GetState() == skerryv1.NodeState_NODE_STATE_READY {
			up++
		}
	}
	return up, all
}

// RotateAuthorities begins a rotation of the CAs.
func (i identities) RotateAuthorities(ctx context.Context, req *connect.Request[skerryv1.RotateAuthoritiesRequest]) (*connect.Response[skerryv1.RotateAuthoritiesResponse], error) {
	_, err := i.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_RotateAuthorities{
		RotateAuthorities: &sitev1.RotateAuthorities{},
	}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.RotateAuthoritiesResponse{Freshness: i.freshness(i.Store.View(), true)}), nil
}

// RotateGossipKey begins a rotation, as an eviction does.
func (i identities) RotateGossipKey(ctx context.Context, req *connect.Request[skerryv1.RotateGossipKeyRequest]) (*connect.Response[skerryv1.RotateGossipKeyResponse], error) {
	key := make([]byte, gossipKeyBytes)
	if _, err := i.Rand.Read(key); err != nil {
		return nil, problem.New(problem.Internal, "gossip", "no randomness: %w", err)
	}
	_, err := i.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_RotateGossip{
		RotateGossip: &sitev1.RotateGossip{Key: key},
	}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.RotateGossipKeyResponse{Freshness: i.freshness(i.Store.View(), true)}), nil
}

func (i identities) ListOperators(ctx context.Context, _ *connect.Request[skerryv1.ListOperatorsRequest]) (*connect.Response[skerryv1.ListOperatorsResponse], error) {
	view, freshness := i.read(ctx, false)
	response := &skerryv1.ListOperatorsResponse{Freshness: freshness}
	for _, operator := range view.Operators() {
		response.Operators = append(response.Operators, &skerryv1.Operator{
			Name: operator.GetName(), KeyFingerprint: operator.GetKeyFingerprint(), Grants: operator.GetGrants(),
		})
	}
	return connect.NewResponse(response), nil
}

func (i identities) RevokeOperator(ctx context.Context, req *connect.Request[skerryv1.RevokeOperatorRequest]) (*connect.Response[skerryv1.RevokeOperatorResponse], error) {
	_, err := i.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_RevokeOperator{
		RevokeOperator: &sitev1.RevokeOperator{Name: req.Msg.GetName()},
	}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.RevokeOperatorResponse{Freshness: i.freshness(i.Store.View(), true)}), nil
}

func (i identities) RevokeToken(ctx context.Context, req *connect.Request[skerryv1.RevokeTokenRequest]) (*connect.Response[skerryv1.RevokeTokenResponse], error) {
	_, err := i.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_RevokeToken{
		RevokeToken: &sitev1.RevokeToken{Id: req.Msg.GetId()},
	}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.RevokeTokenResponse{Freshness: i.freshness(i.Store.View(), true)}), nil
}
