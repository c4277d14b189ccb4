package api

import (
	"context"
	"maps"

	"connectrpc.com/connect"

	records "skerry.dev/coordinator/access"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// maxJudged is how often a change is judged again because who may do what has
// changed meanwhile.
const maxJudged = 5

// guard of the operators' API.
func (s *Server) guard() *guard.Guard {
	return guard.New(guard.Config{Who: principalFrom, Judge: s.judge, Labels: s.labels})
}

// judge by the newest records.
func (s *Server) judge() *access.Judge {
	view := s.Store.View()
	return s.judges.At(view.AccessRevision(), view.AccessRecords)
}

// labels of a resource as it is; nil when there is none.
func (s *Server) labels(kind, project, name string) map[string]string {
	return present(s.Store.View(), kind, project, name).Labels
}

// present is a resource as policies see it, or what is asked for when there is
// none.
func present(view *state.View, kind, project, name string) access.Object {
	object := access.Object{Kind: kind, Project: project, Name: name}
	if found := find(view, kind, project, name); found != nil {
		object.Labels = found.GetLabels()
	}
	return object
}

// find a resource by its name; nil when there is none.
func find(view *state.View, kind, project, name string) manifest.Object {
	switch kind {
	case "Workload":
		return orNone(view.Workload(project, name))
	case "Placement":
		return orNone(view.Placement(project, name))
	case "Node":
		return orNone(view.Node(name))
	case "Image":
		return orNone(view.Image(name))
	case "Secret":
		return orNone(view.Secret(project, name).GetSecret())
	case access.KindPolicy:
		return orNone(view.AccessPolicy(name))
	}
	found, err := listKind(view, kind, project, name)
	if err != nil || len(found) == 0 {
		return nil
	}
	return manifest.Of(found[0])
}

// orNone is nil for none.
func orNone[T interface {
	comparable
	manifest.Object
}](object T) manifest.Object {
	var none T
	if object == none {
		return nil
	}
	return object
}

// mayApply asks for each resource, as it is and as it would be: nobody takes a
// resource over by giving it other labels.
func (r resources) mayApply(ctx context.Context, given []*skerryv1.Resource) error {
	call := guard.From(ctx)
	var policies []*skerryv1.AccessPolicy
	for _, resource := range given {
		object := access.ObjectOf(resource)
		if err := call.Ask(access.Apply, object); err != nil {
			return err
		}
		if was := present(r.Store.View(), object.Kind, object.Project, object.Name); !maps.Equal(was.Labels, object.Labels) {
			if err := call.Ask(access.Apply, was); err != nil {
				return err
			}
		}
		if err := mayReach(call, resource.GetWorkload()); err != nil {
			return err
		}
		if v := resource.GetVolume(); v.GetClass() == manifest.HostPathClass {
			if err := call.Require(func(judge *access.Judge) error {
				return reachesAs(judge, call.Who(), "Volume/"+v.GetName(), "path", "is "+v.GetPath()+" of its node")
			}); err != nil {
				return err
			}
		}
		if policy := resource.GetAccessPolicy(); policy != nil {
			if err := access.CheckPolicy(policy); err != nil {
				return err
			}
			policies = append(policies, policy)
		}
	}
	return call.Require(func(*access.Judge) error { return records.CheckLockOut(r.Store.View(), policies) })
}

// mayReach: a workload with which somebody can become the node that it runs on
// asks for more than to be applied. On a voter that would be the whole site.
func mayReach(call *guard.Call, w *skerryv1.Workload) error {
	if field, _ := manifest.ReachesHost(w); field == "" {
		return nil
	}
	return call.Require(func(judge *access.Judge) error { return reaches(judge, call.Who(), w) })
}

// reaches refuses a workload that reaches its node to who may not.
func reaches(judge *access.Judge, who access.Principal, w *skerryv1.Workload) error {
	field, how := manifest.ReachesHost(w)
	if field == "" {
		return nil
	}
	return reachesAs(judge, who, "Workload/"+w.GetName(), field, how)
}

func reachesAs(judge *access.Judge, who access.Principal, about, field, how string) error {
	if judge.Decide(who, access.Reach, access.Object{Kind: access.KindNode}).Allowed {
		return nil
	}
	return problem.New(problem.Forbidden, about, "%s may not reach nodes from within containers, and it %s", who, how).
		WithField(field).WithHint("admins of the site may; skerry access explain %s %s says what else would permit it", access.Reach, access.KindNode)
}

// mayChange refuses to do something with a workload to who may not apply it as it
// is, and as becomes says that it would be. It is asked again when it has changed
// before the call's entry is in the log: judge takes for that how it was.
func (s *Server) mayChange(ctx context.Context, project, name string, becomes func(*state.View, *skerryv1.Workload) *skerryv1.Workload, judge func(*sitev1.Judged)) error {
	call := guard.From(ctx)
	return call.Require(func(by *access.Judge) error {
		view := s.Store.View()
		object := present(view, "Workload", project, name)
		if verdict := by.Decide(call.Who(), access.Apply, object); !verdict.Allowed {
			return access.Refusal(call.Who(), access.Apply, object, verdict)
		}
		w := view.Workload(project, name)
		if w == nil {
			return notFound("Workload", name, project)
		}
		judge(view.Judged(w))
		return reaches(by, call.Who(), becomes(view, w))
	})
}

// propose commits an entry that was judged. When who may do what has changed
// meanwhile, it is judged again.
func (s *Server) propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error) {
	call := guard.From(ctx)
	for range maxJudged {
		entry.AccessRevision = call.Revision()
		outcome, err := s.Log.Propose(ctx, entry)
		if err != nil || !outcome.GetJudgeAgain() {
			return outcome, err
		}
		if err := call.Again(); err != nil {
			return nil, err
		}
	}
	return nil, problem.New(problem.Unavailable, "access", "who may do what, or what this is about, changes faster than it can be judged").
		WithHint("nothing was changed; try again")
}

// accessService implements skerry.v1.AccessService.
type accessService struct{ *Server }

func (a accessService) CheckAccess(ctx context.Context, req *connect.Request[skerryv1.CheckAccessRequest]) (*connect.Response[skerryv1.CheckAccessResponse], error) {
	call, msg := guard.From(ctx), req.Msg
	who, err := a.about(call, msg.GetPrincipal())
	if err != nil {
		return nil, err
	}
	view, freshness := a.read(ctx, msg.GetStale())
	verb, kind, err := asked(msg.GetVerb(), msg.GetKind())
	if err != nil {
		return nil, err
	}
	project := ""
	if manifest.InProject(kind) {
		project = projectOr(msg.GetProject(), defaultProject)
	}
	object := present(view, kind, project, msg.GetName())
	explained := a.judge().Explain(who, verb, object)
	if !call.May(access.Read, object) {
		explained.Object = access.Unlabelled(explained.Object) // labels are content
	}
	return connect.NewResponse(&skerryv1.CheckAccessResponse{
		Allowed: explained.Allowed, Summary: explained.Summary, Reasons: explained.Reasons, Missing: explained.Missing,
		Principal: explained.Principal, Object: explained.Object, Revision: view.AccessRevision(), Freshness: freshness,
	}), nil
}

// about whom the caller asks. About others, only whoever may read policies.
func (a accessService) about(call *guard.Call, principal string) (access.Principal, error) {
	if principal == "" {
		return call.Who(), nil
	}
	who, err := access.ParsePrincipal(a.Site, principal)
	if err != nil {
		return access.Principal{}, err
	}
	if who == call.Who() {
		return who, nil
	}
	return who, call.Ask(access.Read, access.Object{Kind: access.KindPolicy})
}

// asked checks that there are such a verb and such a kind.
func asked(verb, kind string) (string, string, error) {
	kinds, known := access.Verbs()[verb]
	if !known {
		return "", "", problem.New(problem.Invalid, "", "there is no verb %q", verb).WithField("verb").
			WithHint("the verbs are %s", access.VerbWords())
	}
	for _, name := range kinds {
		if name == kind {
			return verb, kind, nil
		}
	}
	return "", "", problem.New(problem.Invalid, "", "nothing of kind %q can be asked to %s", kind, verb).WithField("kind").
		WithHint("%s goes with %s", verb, access.KindWords(verb))
}

func (a accessService) ChangeGrants(ctx context.Context, req *connect.Request[skerryv1.ChangeGrantsRequest]) (*connect.Response[skerryv1.ChangeGrantsResponse], error) {
	msg := req.Msg
	if len(msg.GetAdd())+len(msg.GetRemove()) == 0 {
		return nil, problem.New(problem.Invalid, "Operator/"+msg.GetOperator(), "there is no role to give or to take").WithField("add")
	}
	if err := knownProjects(a.Store.View(), msg.GetAdd()); err != nil {
		return nil, err
	}
	if err := a.mayGive(ctx, msg.GetAdd()); err != nil {
		return nil, err
	}
	_, err := a.commit(ctx, msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_ChangeGrants{ChangeGrants: &sitev1.ChangeGrants{
		Operator: msg.GetOperator(), Add: msg.GetAdd(), Remove: msg.GetRemove(),
	}}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.ChangeGrantsResponse{Freshness: a.freshness(a.Store.View(), true)}), nil
}

// knownProjects refuses roles in projects that there are not: mostly a slip.
func knownProjects(view *state.View, grants []*skerryv1.Grant) error {
	for _, grant := range grants {
		if grant.GetProject() != "" && find(view, access.KindProject, "", grant.GetProject()) == nil {
			return notFound("Project", grant.GetProject(), "")
		}
	}
	return nil
}
