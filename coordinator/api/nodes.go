package api

import (
	"context"

	"connectrpc.com/connect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// nodeService implements skerry.v1.NodeService on the coordinator.
type nodeService struct{ *Server }

func (n nodeService) ChangeDuty(ctx context.Context, req *connect.Request[skerryv1.ChangeDutyRequest]) (*connect.Response[skerryv1.ChangeDutyResponse], error) {
	outcome, err := n.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_ChangeDuty{
		ChangeDuty: &sitev1.ChangeDuty{Node: req.Msg.GetNode(), Duty: req.Msg.GetDuty(), Reason: req.Msg.GetReason()},
	}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.ChangeDutyResponse{Node: outcome.GetNode(), Freshness: n.freshness(n.Store.View(), true)}), nil
}
