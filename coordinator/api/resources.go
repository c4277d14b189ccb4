package api

import (
	"context"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	defaultProject = "default"
	// maxResources in one apply.
	maxResources = 64
)

// resources implements skerry.v1.ResourceService.
type resources struct{ *Server }

func (r resources) Apply(ctx context.Context, req *connect.Request[skerryv1.ApplyRequest]) (*connect.Response[skerryv1.ApplyResponse], error) {
	admitted, err := r.admit(req.Msg.GetResources())
	if err != nil {
		return nil, err
	}
	if req.Msg.GetDryRun() {
		return r.dryRun(ctx, admitted)
	}
	outcome, err := r.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{
		Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{Resources: admitted}},
	})
	if err != nil {
		return nil, err
	}
	view := r.Store.View()
	return connect.NewResponse(&skerryv1.ApplyResponse{
		Results:   outcome.GetApplied(),
		Freshness: r.freshness(view, true),
	}), nil
}

// admit fills in defaults and validates: all resources or none.
func (r resources) admit(given []*skerryv1.Resource) ([]*skerryv1.Resource, error) {
	if len(given) == 0 {
		return nil, problem.New(problem.Invalid, "", "there is nothing to apply")
	}
	if len(given) > maxResources {
		return nil, problem.New(problem.Invalid, "", "%d resources in one apply, at most %d are taken", len(given), maxResources)
	}
	admitted := make([]*skerryv1.Resource, 0, len(given))
	for _, resource := range given { // the call's own copy, as it was decoded
		if workload := resource.GetWorkload(); workload != nil {
			manifest.Default(workload)
		}
		if err := manifest.Validate(resource); err != nil {
			return nil, err
		}
		admitted = append(admitted, resource)
	}
	return admitted, nil
}

// dryRun checks what an apply would do, on a copy of nothing: the state is
// only looked at.
func (r resources) dryRun(ctx context.Context, admitted []*skerryv1.Resource) (*connect.Response[skerryv1.ApplyResponse], error) {
	view, freshness := r.read(ctx, false)
	response := &skerryv1.ApplyResponse{Freshness: freshness}
	for _, resource := range admitted {
		outcome, err := view.CheckApply(resource)
		if err != nil {
			return nil, err
		}
		response.Results = append(response.Results, outcome)
	}
	return connect.NewResponse(response), nil
}

func (r resources) Get(ctx context.Context, req *connect.Request[skerryv1.GetRequest]) (*connect.Response[skerryv1.GetResponse], error) {
	msg := req.Msg
	if msg.GetName() == "" {
		return nil, problem.New(problem.Invalid, "", "a name is required").WithField("name")
	}
	view, freshness := r.read(ctx, msg.GetStale())
	found, err := listKind(view, msg.GetKind(), projectOr(msg.GetProject(), defaultProject), msg.GetName())
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, notFound(msg.GetKind(), msg.GetName(), msg.GetProject())
	}
	return connect.NewResponse(&skerryv1.GetResponse{Resource: found[0], Freshness: freshness}), nil
}

func (r resources) List(ctx context.Context, req *connect.Request[skerryv1.ListRequest]) (*connect.Response[skerryv1.ListResponse], error) {
	view, freshness := r.read(ctx, req.Msg.GetStale())
	found, err := listKind(view, req.Msg.GetKind(), req.Msg.GetProject(), "")
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(resource *skerryv1.Resource) bool {
		return !hasLabels(resource, req.Msg.GetLabels())
	})
	return connect.NewResponse(&skerryv1.ListResponse{Resources: found, Freshness: freshness}), nil
}

func (r resources) Delete(ctx context.Context, req *connect.Request[skerryv1.DeleteRequest]) (*connect.Response[skerryv1.DeleteResponse], error) {
	msg := req.Msg
	_, err := r.commit(ctx, msg.GetRequestId(), &sitev1.Entry{
		Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{
			Kind:            msg.GetKind(),
			Project:         projectOr(msg.GetProject(), defaultProject),
			Name:            msg.GetName(),
			ResourceVersion: msg.GetResourceVersion(),
		}},
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.DeleteResponse{Freshness: r.freshness(r.Store.View(), true)}), nil
}

// listKind returns the resources of a kind, of one project unless it is empty,
// with one name unless it is empty. Nodes and images belong to no project.
func listKind(view *state.View, kind, project, name string) ([]*skerryv1.Resource, error) {
	var out []*skerryv1.Resource
	keep := func(resourceProject, resourceName string) bool {
		return (project == "" || resourceProject == "" || project == resourceProject) && (name == "" || name == resourceName)
	}
	switch kind {
	case "Workload":
		for _, w := range view.Workloads() {
			if keep(w.GetProject(), w.GetName()) {
				out = append(out, &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: w}})
			}
		}
	case "Placement":
		for _, p := range view.Placements() {
			if keep(p.GetProject(), p.GetName()) {
				out = append(out, &skerryv1.Resource{Kind: &skerryv1.Resource_Placement{Placement: p}})
			}
		}
	case "Node":
		for _, n := range view.Nodes() {
			if keep("", n.GetName()) {
				out = append(out, &skerryv1.Resource{Kind: &skerryv1.Resource_Node{Node: n}})
			}
		}
	case "Image":
		for _, i := range view.Images() {
			if keep("", i.GetName()) {
				out = append(out, &skerryv1.Resource{Kind: &skerryv1.Resource_Image{Image: i}})
			}
		}
	default:
		return nil, problem.New(problem.Invalid, "", "there is no kind %q", kind).
			WithField("kind").WithHint("the kinds are Workload, Placement, Node and Image")
	}
	return out, nil
}

func hasLabels(resource *skerryv1.Resource, labels map[string]string) bool {
	type labelled interface{ GetLabels() map[string]string }
	var of labelled
	switch kind := resource.GetKind().(type) {
	case *skerryv1.Resource_Workload:
		of = kind.Workload
	case *skerryv1.Resource_Placement:
		of = kind.Placement
	case *skerryv1.Resource_Node:
		of = kind.Node
	case *skerryv1.Resource_Image:
		of = kind.Image
	}
	have := of.GetLabels()
	for key, value := range labels {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

func projectOr(project, fallback string) string {
	if project == "" {
		return fallback
	}
	return project
}

func notFound(kind, name, project string) error {
	p := problem.New(problem.NotFound, kind+"/"+name, "there is no such %s", strings.ToLower(kind)).
		WithHint("skerry get %s lists what there is", strings.ToLower(kind))
	if kind == "Workload" || kind == "Placement" {
		p.Message += " in project " + projectOr(project, defaultProject)
	}
	return p
}
