package manifest

import (
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Object is what resources of all kinds have in common.
type Object interface {
	proto.Message
	GetKind() string
	GetName() string
	GetProject() string
	GetLabels() map[string]string
	GetGeneration() uint64
	GetResourceVersion() uint64
}

// Of returns the resource without the wrapper that tells its kind; nil when it
// holds none that this version knows.
func Of(resource *skerryv1.Resource) Object {
	if w := resource.GetWorkload(); w != nil {
		return w // as nearly all are: reflection would cost more than the rest of their check
	}
	message := resource.ProtoReflect()
	field := message.WhichOneof(resourceKinds)
	if field == nil {
		return nil
	}
	object, _ := message.Get(field).Message().Interface().(Object)
	return object
}

// Wrap is the opposite of Of.
func Wrap(object Object) *skerryv1.Resource {
	if w, ok := object.(*skerryv1.Workload); ok {
		return &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: w}}
	}
	resource := &skerryv1.Resource{}
	kinds := resourceKinds.Fields()
	for i := range kinds.Len() {
		if kinds.Get(i).Message() == object.ProtoReflect().Descriptor() {
			resource.ProtoReflect().Set(kinds.Get(i), protoreflect.ValueOfMessage(object.ProtoReflect()))
		}
	}
	return resource
}

// KindOf a resource: `Workload`; empty when it holds none.
func KindOf(resource *skerryv1.Resource) string {
	object := Of(resource)
	if object == nil {
		return ""
	}
	return string(object.ProtoReflect().Descriptor().Name())
}

// Kinds of resources, all of them.
func Kinds() []string {
	fields := resourceKinds.Fields()
	names := make([]string, 0, fields.Len())
	for i := range fields.Len() {
		names = append(names, string(fields.Get(i).Message().Name()))
	}
	return names
}

var resourceKinds = (&skerryv1.Resource{}).ProtoReflect().Descriptor().Oneofs().ByName("kind")

// applicable is a kind that users declare.
type applicable struct {
	new func() Object
	// fill in what the manifest leaves open.
	fill func(Object)
	// check what is specific to the kind; the envelope is checked for all.
	check func(*validator, Object)
	// inProject: its resources belong to projects.
	inProject bool
}

// applicables by kind. Another kind needs a line here, one in the state's
// applyResource and one in the command line's kinds.
var applicables = map[string]applicable{
	"Workload": {
		new:       func() Object { return &skerryv1.Workload{} },
		fill:      func(o Object) { Default(o.(*skerryv1.Workload)) },
		check:     func(v *validator, o Object) { v.workload(o.(*skerryv1.Workload)) },
		inProject: true,
	},
	"Secret": {
		new:       func() Object { return &skerryv1.Secret{} },
		fill:      func(o Object) { fillSecret(o.(*skerryv1.Secret)) },
		check:     func(v *validator, o Object) { v.secret(o.(*skerryv1.Secret)) },
		inProject: true,
	},
	"Volume": {
		new:       func() Object { return &skerryv1.Volume{} },
		fill:      func(o Object) { fillVolume(o.(*skerryv1.Volume)) },
		check:     func(v *validator, o Object) { v.volume(o.(*skerryv1.Volume)) },
		inProject: true,
	},
	"AccessPolicy": {
		new:   func() Object { return &skerryv1.AccessPolicy{} },
		fill:  func(o Object) { set(&o.(*skerryv1.AccessPolicy).Kind, "AccessPolicy") },
		check: func(v *validator, o Object) { v.accessPolicy(o.(*skerryv1.AccessPolicy)) },
	},
	"Settings": {
		new:   func() Object { return &skerryv1.Settings{} },
		fill:  func(o Object) { DefaultSettings(o.(*skerryv1.Settings)) },
		check: func(v *validator, o Object) { v.settings(o.(*skerryv1.Settings)) },
	},
	"Project": {
		new:   func() Object { return &skerryv1.Project{} },
		fill:  func(o Object) { fillProject(o.(*skerryv1.Project)) },
		check: func(v *validator, o Object) { v.project(o.(*skerryv1.Project)) },
	},
}

// Fill in what a resource leaves open, as the manifest reference says.
func Fill(resource *skerryv1.Resource) {
	if a, known := applicables[KindOf(resource)]; known {
		a.fill(Of(resource))
	}
}

// InProject tells whether resources of a kind belong to projects.
func InProject(kind string) bool { return kind == "Placement" || applicables[kind].inProject }

// fillProject forgets what the site sets, so that what it shows can be edited
// and applied.
func fillProject(p *skerryv1.Project) {
	set(&p.Kind, "Project")
	p.Used = nil
}

func (v *validator) accessPolicy(p *skerryv1.AccessPolicy) {
	switch {
	case p.GetPolicy() == "":
		v.fail("policy", "it is missing").Hint = "docs/access.md shows examples"
	case len(p.GetPolicy()) > MaxPolicyBytes:
		v.fail("policy", "it is longer than %d KiB", MaxPolicyBytes>>10).Hint = "split it into several"
	}
}

// MaxPolicyBytes of one access policy.
const MaxPolicyBytes = 16 << 10

func (v *validator) project(p *skerryv1.Project) {
	if cpu := p.GetQuota().GetCpu(); cpu != "" {
		if _, err := QuotaCPU(cpu); err != nil {
			v.fail("quota.cpu", "%w", err)
		}
	}
	if memory := p.GetQuota().GetMemory(); memory != "" {
		if _, err := Memory(memory); err != nil {
			v.fail("quota.memory", "%w", err)
		}
	}
}

// errNotApplicable is the refusal of a kind that users do not declare.
func errNotApplicable(kind string) *problem.Error {
	if kind == "" {
		kind = "a resource without a kind"
	}
	return problem.New(problem.Invalid, "", "%s cannot be applied", shorten(kind)).WithField("kind").
		WithHint("the kinds to apply are %s", toApply())
}

// toApply names the kinds that users declare.
func toApply() string { return strings.Join(slices.Sorted(maps.Keys(applicables)), ", ") }

// Created is the site time at which a resource was made.
func Created(o Object) time.Time {
	message := o.ProtoReflect()
	at, _ := message.Get(message.Descriptor().Fields().ByName("created")).Message().Interface().(*timestamppb.Timestamp)
	return at.AsTime()
}
