package api

import (
	"context"
	"slices"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// rollouts implements skerry.v1.RolloutService.
type rollouts struct{ *Server }

func (r rollouts) History(ctx context.Context, req *connect.Request[skerryv1.HistoryRequest]) (*connect.Response[skerryv1.HistoryResponse], error) {
	project, name := projectOr(req.Msg.GetProject(), defaultProject), req.Msg.GetName()
	view, freshness := r.read(ctx, req.Msg.GetStale())
	if err := guard.From(ctx).Ask(access.Read, present(view, "Workload", project, name)); err != nil {
		return nil, err
	}
	w := view.Workload(project, name)
	if w == nil {
		return nil, r.absent(req.Msg.GetStale(), freshness, "Workload", name, project)
	}
	answer := &skerryv1.HistoryResponse{Progress: progress(view, w), Freshness: freshness}
	revisions := view.Revisions(project, name)
	for i, revision := range revisions {
		change := &skerryv1.RevisionChange{Revision: revision}
		if i > 0 {
			change.Changes = manifest.Diff(revisions[i-1].GetTemplate(), revision.GetTemplate())
		}
		answer.Revisions = append(answer.Revisions, change)
	}
	slices.Reverse(answer.Revisions)
	return connect.NewResponse(answer), nil
}

func (r rollouts) Steer(ctx context.Context, req *connect.Request[skerryv1.SteerRequest]) (*connect.Response[skerryv1.SteerResponse], error) {
	msg := req.Msg
	project := projectOr(msg.GetProject(), defaultProject)
	change := &sitev1.SteerRollout{
		Project: project, Workload: msg.GetName(), Action: msg.GetAction(), Generation: msg.GetGeneration(), ResourceVersion: msg.GetResourceVersion(),
	}
	then := func(view *state.View, w *skerryv1.Workload) *skerryv1.Workload { return becomes(view, w, msg) }
	if err := r.mayChange(ctx, project, msg.GetName(), then, func(judged *sitev1.Judged) { change.Judged = judged }); err != nil {
		return nil, err
	}
	outcome, err := r.commit(ctx, msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_SteerRollout{SteerRollout: change}})
	if err != nil {
		return nil, err
	}
	answer := &skerryv1.SteerResponse{Freshness: r.freshness(r.Store.View(), true)}
	if len(outcome.GetApplied()) == 1 {
		answer.Workload = outcome.GetApplied()[0].GetResource().GetWorkload()
	}
	return connect.NewResponse(answer), nil
}

// becomes is what a workload would be after it was steered.
func becomes(view *state.View, w *skerryv1.Workload, msg *skerryv1.SteerRequest) *skerryv1.Workload {
	to := view.Rollout(w.GetProject(), w.GetName()).Goal()
	switch msg.GetAction() {
	case skerryv1.SteerAction_STEER_ACTION_ABORT: // whatever generation it names
	case skerryv1.SteerAction_STEER_ACTION_ROLL_BACK:
		for _, r := range view.Revisions(w.GetProject(), w.GetName()) {
			if g := msg.GetGeneration(); r.GetGeneration() <= g && g <= r.GetLastGeneration() {
				to = r
			}
		}
	default:
		return w
	}
	if to == nil {
		return w // the state refuses it
	}
	return &skerryv1.Workload{Name: w.GetName(), Container: to.GetTemplate().GetContainer(), Vm: to.GetTemplate().GetVm(), Health: to.GetTemplate().GetHealth()}
}

// progress counts how far the newest template of a workload is.
func progress(view *state.View, w *skerryv1.Workload) *skerryv1.RolloutProgress {
	p := &skerryv1.RolloutProgress{Wanted: uint32(manifest.Wanted(w))}
	all := view.PlacementsOf(w.GetProject(), w.GetName())
	for _, placement := range all {
		if !state.Counts(placement) {
			continue
		}
		count, healthy := &p.Old, &p.OldHealthy
		if placement.GetGeneration() == w.GetGeneration() {
			count, healthy = &p.Updated, &p.UpdatedHealthy
		}
		*count++
		if state.IsHealthy(placement) {
			*healthy++
		}
	}
	rollout := view.Rollout(w.GetProject(), w.GetName())
	if rollout.Beside(w) && w.GetUpdate().GetPromoteAfter() == manifest.Manual {
		p.WaitsForPromotion = int(p.GetUpdatedHealthy()) >= rollout.Ahead(w, all, state.IsHealthy)
	}
	p.Summary = summaryOf(rollout, w, p, awayFrom(view, w, all))
	return p
}
