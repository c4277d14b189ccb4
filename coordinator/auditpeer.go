package coordinator

import (
	"bytes"
	"context"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/throttle"
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

// ReportRefusals takes over what a node has counted. It is on this voter's disk
// before that node forgets it.
func (a auditPeer) ReportRefusals(ctx context.Context, req *connect.Request[sitev1.ReportRefusalsRequest]) (*connect.Response[sitev1.ReportRefusalsResponse], error) {
	node, leave, err := a.member(ctx)
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	defer leave()
	refusals, reads := a.v.refusals, a.v.reads
	if node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER {
		refusals, reads = a.v.seenRefusals, a.v.seenReads
	}
	// A voter may bring what was brought to it.
	witness := func(said string) string {
		if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && said != "" {
			return said
		}
		return node.GetName()
	}
	for _, one := range first(req.Msg.GetRefusals(), maxReported) {
		one.Node = witness(one.GetNode())
		refusals.Return(one)
	}
	for _, one := range first(req.Msg.GetReads(), maxReported) {
		one.Node = witness(one.GetNode())
		reads.Return(counts.OfReads(one))
	}
	for _, counted := range []*counts.Counts{refusals, reads} {
		if err := counted.Save(); err != nil {
			a.v.Logger.Warn("counts that came from a node could not be kept on disk", "node", node.GetName(), "error", err)
		}
	}
	return connect.NewResponse(&sitev1.ReportRefusalsResponse{}), nil
}

func first[T any](all []T, most int) []T { return all[:min(len(all), most)] }

// reportLimits of one node. What is above them waits on that node.
var reportLimits = throttle.Limits{PerSecond: 50, Burst: 200, Running: 16, Callers: 8192}

// member is the node of the site that calls the coordinator; it leaves when the
// call is over.
func (a auditPeer) member(ctx context.Context) (node *skerryv1.Node, leave func(), err error) {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer has no record
	node = a.v.store.View().Node(peer.Name)
	if node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || !bytes.Equal(node.GetKeyFingerprint(), peer.KeyFingerprint) {
		return nil, nil, problem.New(problem.Forbidden, peer.ID.String(), "only nodes of the site may write what they saw")
	}
	if !a.v.node.Status().Serving {
		return nil, nil, problem.New(problem.Unavailable, "audit log", "%s is not the coordinator", a.v.Node)
	}
	leave, _, err = a.v.reports.Enter("Node/" + node.GetName())
	if err != nil {
		return nil, nil, problem.New(problem.Unavailable, "audit log", "what this node brings has to wait: %w", err)
	}
	return node, leave, nil
}
