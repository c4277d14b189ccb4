package coordinator

import (
	"context"

	"connectrpc.com/connect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/problem"
)

// queuePeer implements sitev1connect.QueuePeerServiceHandler.
type queuePeer struct{ v *Voter }

// SendQueued carries out what waited on a node. That node speaks for nobody: the
// change carries its operator's signature.
func (q queuePeer) SendQueued(ctx context.Context, req *connect.Request[sitev1.SendQueuedRequest]) (*connect.Response[sitev1.SendQueuedResponse], error) {
	node, leave, err := auditPeer(q).member(ctx)
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	defer leave()
	decided, err := q.v.operators.Deferred(ctx, node.GetName(), counts.HostOf(req.Peer().Addr), req.Msg.GetChange())
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(&sitev1.SendQueuedResponse{Decided: decided}), nil
}
