package api

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// plans implements skerry.v1.PlanService.
type plans struct{ *Server }

func (p plans) Plan(ctx context.Context, req *connect.Request[skerryv1.PlanRequest]) (*connect.Response[skerryv1.PlanResponse], error) {
	if len(req.Msg.GetResources()) == 0 {
		return nil, problem.New(problem.Invalid, "", "there is nothing to plan").WithHint("name manifests: skerry plan -f web.yaml")
	}
	admitted, err := resources(p).admit(req.Msg.GetResources())
	if err != nil {
		return nil, err
	}
	if err := resources(p).mayApply(ctx, admitted); err != nil {
		return nil, err
	}
	sealed, end, err := p.sealAll(ctx, admitted)
	if err != nil {
		return nil, err
	}
	defer end()
	before, freshness := p.read(ctx, false)
	foreseen, err := p.foresee(ctx, &skerryv1.WhatIfRequest{}, &sitev1.ApplyResources{Resources: admitted, Secrets: sealed})
	if err != nil {
		return nil, err
	}
	answer := &skerryv1.PlanResponse{Settled: foreseen.GetSettled(), Freshness: freshness}
	for _, applied := range foreseen.GetApplied() {
		next := planned(before, applied)
		if !guard.From(ctx).May(access.Read, present(before, next.GetKind(), next.GetProject(), next.GetName())) {
			next.Changes = nil // they tell what was there
		}
		answer.Resources = append(answer.Resources, next)
	}
	may := func(project, workload string) bool {
		return guard.From(ctx).May(access.Read, present(before, "Workload", project, workload))
	}
	for _, m := range foreseen.GetMoves() {
		if may(m.GetProject(), m.GetWorkload()) {
			answer.Moves = append(answer.Moves, m)
		}
	}
	for _, s := range foreseen.GetStranded() {
		if may(s.GetProject(), s.GetWorkload()) {
			answer.Stranded = append(answer.Stranded, s)
		}
	}
	return connect.NewResponse(answer), nil
}

// planned tells how one resource would change. Of a secret it knows no values.
func planned(before *state.View, applied *skerryv1.AppliedResource) *skerryv1.PlannedResource {
	next := manifest.Of(applied.GetResource())
	p := &skerryv1.PlannedResource{
		Kind: manifest.KindOf(applied.GetResource()), Project: next.GetProject(), Name: next.GetName(), Outcome: applied.GetOutcome(),
	}
	was := find(before, p.GetKind(), p.GetProject(), p.GetName())
	if was == nil {
		return p
	}
	p.Changes = manifest.Diff(was, next)
	if applied.GetResource().GetSecret() != nil && p.GetOutcome() == "configured" {
		p.Changes = append(p.Changes, &skerryv1.FieldChange{Field: "data", From: "(not shown)", To: "(not shown)"})
	}
	if w := applied.GetResource().GetWorkload(); w != nil {
		p.Replaces = !state.SameTemplate(before.Workload(p.GetProject(), p.GetName()), w) &&
			len(before.PlacementsOf(p.GetProject(), p.GetName())) > 0
	}
	return p
}
