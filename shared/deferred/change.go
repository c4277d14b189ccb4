package deferred

import (
	"slices"
	"strings"
	"time"

	"skerry.dev/shared/access"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// Lifetime of a queued change: what nobody has sent by then nobody wants
	// without looking again.
	Lifetime = 7 * 24 * time.Hour
	// maxID bounds request IDs, maxResources one change.
	maxID        = 128
	maxResources = 64
	// Verbs of changes.
	verbApply  = "apply"
	verbDelete = "delete"
)

// kinds that can be queued. Secrets would lie on the node's disk, and who may do
// what is not to change behind the site's back.
var kinds = []string{"Workload", "Volume", "Project"}

// check refuses what cannot be queued.
func check(change *skerryv1.DeferredChange) error {
	id := change.GetRequestId()
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }) {
		return problem.New(problem.Invalid, "change", "its ID must be hexadecimal, of at most %d digits", maxID).WithField("requestId")
	}
	if change.GetExpires().AsTime().Sub(change.GetQueued().AsTime()) > Lifetime {
		return problem.New(problem.Invalid, "change", "it waits for longer than %s", Lifetime).WithField("expires")
	}
	return Suits(change)
}

// Suits refuses changes of a kind that cannot be queued.
func Suits(change *skerryv1.DeferredChange) error {
	objects := Objects(change)
	if len(objects) == 0 || len(objects) > maxResources || change.GetApply().GetDryRun() {
		return problem.New(problem.Invalid, "change", "1 to %d resources can be queued, to be applied or deleted", maxResources)
	}
	for _, object := range objects {
		if !slices.Contains(kinds, object.Kind) {
			return problem.New(problem.Invalid, object.String(), "resources of this kind cannot be queued").
				WithHint("these can: %s", strings.Join(kinds, ", "))
		}
	}
	return nil
}

// Verb of a change: what its operator must be permitted to do.
func Verb(change *skerryv1.DeferredChange) string {
	if change.GetDelete() != nil {
		return verbDelete
	}
	return verbApply
}

// Objects that a change is about.
func Objects(change *skerryv1.DeferredChange) []access.Object {
	var objects []access.Object
	for _, resource := range change.GetApply().GetResources() {
		objects = append(objects, inProject(access.ObjectOf(resource)))
	}
	if d := change.GetDelete(); d != nil {
		objects = append(objects, inProject(access.Object{Kind: d.GetKind(), Project: d.GetProject(), Name: d.GetName()}))
	}
	return objects
}

func inProject(object access.Object) access.Object {
	if manifest.InProject(object.Kind) && object.Project == "" {
		object.Project = "default"
	}
	return object
}

// Shown is a change that waits on a node, as it is shown.
func Shown(change *skerryv1.DeferredChange, node string) *skerryv1.QueuedChange {
	shown := &skerryv1.QueuedChange{
		RequestId: change.GetRequestId(), Principal: change.GetPrincipal(), Verb: Verb(change), Node: node,
		Queued: change.GetQueued(), Expires: change.GetExpires(), State: skerryv1.QueuedState_QUEUED_STATE_WAITING,
	}
	for _, object := range Objects(change) {
		parts := slices.DeleteFunc([]string{object.Kind, object.Project, object.Name}, func(part string) bool { return part == "" })
		shown.Resources = append(shown.Resources, strings.Join(parts, "/"))
	}
	return shown
}

// about are the objects of a change as it is shown.
func about(shown *skerryv1.QueuedChange) []access.Object {
	var objects []access.Object
	for _, path := range shown.GetResources() {
		object := access.Object{}
		parts := strings.Split(path, "/")
		object.Kind, object.Name = parts[0], parts[len(parts)-1]
		if len(parts) == 3 {
			object.Project = parts[1]
		}
		objects = append(objects, object)
	}
	return objects
}
