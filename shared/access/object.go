package access

import (
	"slices"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Kinds that are asked for by name in the code.
const (
	KindSite   = "Site"
	KindPolicy = "AccessPolicy"
	KindAudit  = "Audit"
	// KindProject is special: a role in a project reads the project itself.
	KindProject = "Project"
	// KindOperator is what roles are granted to.
	KindOperator = "Operator"
)

// Verbs that are asked for by name in the code.
const (
	Read = "read"
	// Locate asks who coordinates; skerry does before all else.
	Locate = "locate"
	Apply  = "apply"
	Grant  = "grant"
	// Foresee what would become of the site: it shows all that is in it.
	Foresee = "foresee"
	// Reach a node from within a container. No call does it alone: it is asked
	// when a workload is applied that would.
	Reach = "reach"
)

// Kinds of what is asked about beside what a call names.
const (
	// KindNode is what workloads reach.
	KindNode = "Node"
)

// Object is what something is done to.
type Object struct {
	Kind, Project, Name string
	Labels              map[string]string
}

// ObjectOf a resource.
func ObjectOf(resource *skerryv1.Resource) Object {
	of := manifest.Of(resource)
	if of == nil {
		return Object{}
	}
	return Object{Kind: manifest.KindOf(resource), Project: of.GetProject(), Name: of.GetName(), Labels: of.GetLabels()}
}

// String is KIND/NAME, with its project where it is in one.
func (o Object) String() string {
	text := o.Kind
	if o.Name != "" {
		text += "/" + o.Name
	}
	if manifest.InProject(o.Kind) && o.Project != "" {
		text += " in project " + o.Project
	}
	return text
}

// scope is the project whose roles count for a verb on the object; empty when
// only those of the whole site do.
func (o Object) scope(verb string) string {
	switch {
	case manifest.InProject(o.Kind):
		return o.Project
	case o.Kind == KindProject && verb == Read:
		return o.Name
	default:
		return ""
	}
}

// id of the object in policies: Workload::"shop/web", Node::"n1".
func (o Object) id() cedar.EntityUID {
	name := o.Name
	if manifest.InProject(o.Kind) {
		name = o.Project + "/" + o.Name
	}
	return cedar.NewEntityUID(cedar.EntityType(o.Kind), cedar.String(name))
}

// entity of the object: what policies see of it.
func (o Object) entity() cedar.Entity {
	entity := cedar.Entity{UID: o.id(), Attributes: cedar.NewRecord(cedar.RecordMap{
		"kind": cedar.String(o.Kind), "name": cedar.String(o.Name), "project": cedar.String(o.Project),
	})}
	if len(o.Labels) > 0 {
		tags := make(cedar.RecordMap, len(o.Labels))
		for key, value := range o.Labels {
			tags[cedar.String(key)] = cedar.String(value)
		}
		entity.Tags = cedar.NewRecord(tags)
	}
	return entity
}

// Verbs of all RPCs, and of each the kinds that it can be done to.
func Verbs() map[string][]string {
	verbs := map[string][]string{}
	add := func(verb string, kinds ...string) {
		for _, kind := range kinds {
			if !slices.Contains(verbs[verb], kind) {
				verbs[verb] = append(verbs[verb], kind)
			}
		}
	}
	for _, rule := range Rules() {
		if rule.GetOwn() || !rule.Admits(skerryv1.Caller_CALLER_OPERATOR) && !rule.Admits(skerryv1.Caller_CALLER_WORKLOAD) {
			continue // not a matter of policies
		}
		if rule.GetKind() != "" {
			add(rule.GetVerb(), rule.GetKind())
		} else {
			add(rule.GetVerb(), manifest.Kinds()...)
		}
	}
	add(Reach, KindNode)
	return verbs
}

// VerbWords names all verbs, for people.
func VerbWords() string { return strings.Join(sortedKeys(Verbs()), ", ") }

// KindWords names the kinds that go with a verb.
func KindWords(verb string) string {
	return strings.Join(slices.Sorted(slices.Values(Verbs()[verb])), ", ")
}
