package api

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
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
	view, call := r.Store.View(), guard.From(ctx)
	if err := call.Ask(access.Apply, present(view, "Workload", project, msg.GetName())); err != nil {
		return nil, err
	}
	w := view.Workload(project, msg.GetName())
	if w == nil {
		return nil, notFound("Workload", msg.GetName(), project)
	}
	if err := mayReach(call, w); err != nil {
		return nil, err
	}
	outcome, err := r.commit(ctx, msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_StartRun{
		StartRun: &sitev1.StartRun{Project: project, Workload: w.GetName()},
	}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.StartRunResponse{Run: outcome.GetRun(), Freshness: r.freshness(r.Store.View(), true)}), nil
}
