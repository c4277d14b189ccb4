package api

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// runs implements skerry.v1.RunService on the coordinator.
type runs struct{ *Server }

// StartRun starts a run of a scheduled workload now. Who may do so is who may
// apply what it runs.
func (r runs) StartRun(ctx context.Context, req *connect.Request[skerryv1.StartRunRequest]) (*connect.Response[skerryv1.StartRunResponse], error) {
	msg := req.Msg
	if msg.GetName() == "" {
		return nil, problem.New(problem.Invalid, "", "a name is required").WithField("name")
	}
	project := projectOr(msg.GetProject(), defaultProject)
	change := &sitev1.StartRun{Project: project, Workload: msg.GetName()}
	asItIs := func(_ *state.View, w *skerryv1.Workload) *skerryv1.Workload { return w }
	if err := r.mayChange(ctx, project, msg.GetName(), asItIs, func(judged *sitev1.Judged) { change.Judged = judged }); err != nil {
		return nil, err
	}
	outcome, err := r.commit(ctx, msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_StartRun{StartRun: change}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.StartRunResponse{Run: outcome.GetRun(), Freshness: r.freshness(r.Store.View(), true)}), nil
}
