package api

import (
	"context"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
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
	if err := r.mayApply(ctx, admitted); err != nil {
		return nil, err
	}
	sealed, end, err := r.sealAll(ctx, admitted)
	if err != nil {
		return nil, err
	}
	defer end()
	change := &sitev1.ApplyResources{Resources: admitted, Secrets: sealed}
	if req.Msg.GetDryRun() {
		return r.dryRun(ctx, change)
	}
	outcome, err := r.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{
		Change: &sitev1.Entry_ApplyResources{ApplyResources: change},
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
		manifest.Fill(resource)
		if err := manifest.Validate(resource); err != nil {
			return nil, err
		}
		if err := manifest.CheckFilesRead(resource); err != nil {
			return nil, err
		}
		admitted = append(admitted, resource)
	}
	return admitted, nil
}

// dryRun checks what an apply would do, and changes nothing.
func (r resources) dryRun(ctx context.Context, change *sitev1.ApplyResources) (*connect.Response[skerryv1.ApplyResponse], error) {
	_, freshness := r.read(ctx, false)
	outcome, err := r.Store.Try(&sitev1.Entry{
		Change: &sitev1.Entry_ApplyResources{ApplyResources: change},
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.ApplyResponse{Results: outcome.GetApplied(), Freshness: freshness}), nil
}

func (r resources) Get(ctx context.Context, req *connect.Request[skerryv1.GetRequest]) (*connect.Response[skerryv1.GetResponse], error) {
	msg := req.Msg
	if msg.GetName() == "" {
		return nil, problem.New(problem.Invalid, "", "a name is required").WithField("name")
	}
	view, freshness := r.read(ctx, msg.GetStale())
	project := projectOr(msg.GetProject(), defaultProject)
	found, err := listKind(view, msg.GetKind(), project, msg.GetName())
	if err != nil {
		return nil, err
	}
	if !manifest.InProject(msg.GetKind()) {
		project = ""
	}
	if err := guard.From(ctx).Ask(access.Read, present(view, msg.GetKind(), project, msg.GetName())); err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, r.absent(msg.GetStale(), freshness, msg.GetKind(), msg.GetName(), msg.GetProject())
	}
	return connect.NewResponse(&skerryv1.GetResponse{Resource: found[0], Freshness: freshness}), nil
}

func (r resources) List(ctx context.Context, req *connect.Request[skerryv1.ListRequest]) (*connect.Response[skerryv1.ListResponse], error) {
	view, freshness := r.read(ctx, req.Msg.GetStale())
	found, err := listKind(view, req.Msg.GetKind(), req.Msg.GetProject(), "")
	if err != nil {
		return nil, err
	}
	call := guard.From(ctx)
	found = slices.DeleteFunc(found, func(resource *skerryv1.Resource) bool {
		return !hasLabels(resource, req.Msg.GetLabels()) || !call.May(access.Read, access.ObjectOf(resource))
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
			WithData:        msg.GetWithData(),
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
	objects, known := objectsOf(view, kind)
	if !known {
		return nil, problem.New(problem.Invalid, "", "there is no kind %q", kind).
			WithField("kind").WithHint("the kinds are %s", strings.Join(manifest.Kinds(), ", "))
	}
	var out []*skerryv1.Resource
	for _, o := range objects {
		if (project == "" || o.GetProject() == "" || project == o.GetProject()) && (name == "" || name == o.GetName()) {
			out = append(out, manifest.Wrap(o))
		}
	}
	return out, nil
}

// objectsOf a kind; false when there is no such kind.
func objectsOf(view *state.View, kind string) ([]manifest.Object, bool) {
	switch kind {
	case "AccessPolicy":
		return all(view.AccessPolicies()), true
	case "Project":
		return all(view.Projects()), true
	case "Settings":
		return []manifest.Object{view.Settings()}, true
	case "Workload":
		return all(view.Workloads()), true
	case "Placement":
		return all(view.Placements()), true
	case "Node":
		return all(view.Nodes()), true
	case "Image":
		return all(view.Images()), true
	case "Volume":
		return all(view.Volumes()), true
	case "Secret":
		var secrets []manifest.Object
		for _, record := range view.Secrets() {
			secrets = append(secrets, record.GetSecret())
		}
		return secrets, true
	default:
		return nil, false
	}
}

// all of a list, whatever their kind.
func all[T manifest.Object](list []T) []manifest.Object {
	objects := make([]manifest.Object, 0, len(list))
	for _, o := range list {
		objects = append(objects, o)
	}
	return objects
}

func hasLabels(resource *skerryv1.Resource, labels map[string]string) bool {
	have := manifest.Of(resource).GetLabels()
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
	if manifest.InProject(kind) {
		p.Message += " in project " + projectOr(project, defaultProject)
	}
	return p
}

// absent is the answer about what is not in the state. A replica that may be
// behind does not know that it is nowhere, and says so, unless the caller asked
// for what is known here (asked).
func (s *Server) absent(asked bool, f *skerryv1.Freshness, kind, name, project string) error {
	if asked || !f.GetStale() {
		return notFound(kind, name, project)
	}
	old := "of unknown age"
	if f.GetAge() != nil {
		old = f.GetAge().AsDuration().String() + " old"
	}
	return problem.New(problem.Unavailable, kind+"/"+name, "%s knows of no such %s, but what it knows is %s and may be out of date",
		s.Node, strings.ToLower(kind), old).
		WithHint("try again, or ask a node that reaches a quorum (--address HOST:PORT)")
}
