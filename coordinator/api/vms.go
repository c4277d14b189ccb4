package api

import (
	"context"

	"connectrpc.com/connect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// vms implements skerry.v1.VmService on the coordinator.
type vms struct{ *Server }

// Power says what a virtual machine should be; its node makes it so.
func (v vms) Power(ctx context.Context, req *connect.Request[skerryv1.PowerRequest]) (*connect.Response[skerryv1.PowerResponse], error) {
	change := &sitev1.SetPower{
		Project: projectOr(req.Msg.GetProject(), defaultProject), Placement: req.Msg.GetPlacement(),
		State: req.Msg.GetState(), Restart: req.Msg.GetRestart(), Hard: req.Msg.GetHard(),
		Migrate: req.Msg.GetMigrate(), To: req.Msg.GetTo(),
	}
	if _, err := v.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_SetPower{SetPower: change}}); err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.PowerResponse{Freshness: v.freshness(v.Store.View(), true)}), nil
}
