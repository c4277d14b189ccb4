package coordinator

import (
	"bytes"
	"context"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxFetch leaves, and bytes of them, in one answer.
	maxFetch       = 1000
	maxFetchBytes  = 1 << 20
	maxAuditAnswer = 4 << 20
	// maxReported principals come with one report.
	maxReported = 256
)

// auditPeer implements sitev1connect.AuditPeerServiceHandler for replicas.
type auditPeer struct{ v *Voter }

// replica refuses whoever holds no replica of the log.
func (a auditPeer) replica(ctx context.Context) error {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer has no record
	node := a.v.store.View().Node(peer.Name)
	if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED ||
		node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || !bytes.Equal(node.GetKeyFingerprint(), peer.KeyFingerprint) {
		return problem.ToConnect(problem.New(problem.Forbidden, peer.ID.String(), "only replicas of the log may ask this"))
	}
	return nil
}

func (a auditPeer) FetchLeaves(ctx context.Context, req *connect.Request[sitev1.FetchLeavesRequest]) (*connect.Response[sitev1.FetchLeavesResponse], error) {
	if err := a.replica(ctx); err != nil {
		return nil, err
	}
	first, through := a.v.leaves.Range()
	target := req.Msg.GetTarget()
	if target > through {
		return nil, problem.ToConnect(problem.New(problem.Unavailable, "audit log", "%s has %d entries itself", a.v.Node, through))
	}
	edge := a.v.leaves.Edge()
	response := &sitev1.FetchLeavesResponse{First: max(req.Msg.GetFirst(), first)}
	if response.First != req.Msg.GetFirst() {
		response.Edge = edge.Edge()
	}
	limit, size := min(max(1, int(req.Msg.GetLimit())), maxFetch), 0
	err := a.v.leaves.Each(response.GetFirst(), target, func(leaf audit.Leaf) (bool, error) {
		response.Leaves = append(response.Leaves, leaf.Data)
		size += len(leaf.Data)
		return len(response.GetLeaves()) < limit && size < maxFetchBytes, nil
	})
	if err == nil {
		response.Proof, err = audit.ProveTree(a.v.leaves, target, response.GetFirst()+uint64(len(response.GetLeaves())))
	}
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(response), nil
}

func (a auditPeer) ReportRefusals(ctx context.Context, req *connect.Request[sitev1.ReportRefusalsRequest]) (*connect.Response[sitev1.ReportRefusalsResponse], error) {
	if err := a.replica(ctx); err != nil {
		return nil, err
	}
	if !a.v.node.Status().Serving {
		return nil, problem.ToConnect(problem.New(problem.Unavailable, "audit log", "%s is not the coordinator", a.v.Node))
	}
	given := req.Msg.GetRefusals()
	for _, one := range given[:min(len(given), maxReported)] {
		a.v.refusals.Return(one)
	}
	reads := req.Msg.GetReads()
	for _, one := range reads[:min(len(reads), maxReported)] {
		a.v.reads.Return(countsOf(one))
	}
	return connect.NewResponse(&sitev1.ReportRefusalsResponse{}), nil
}
