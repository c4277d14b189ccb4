package state

import (
	"maps"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// declaredChange is what an apply would do to a resource that the state keeps
// as it is given.
type declaredChange[T manifest.Object] struct {
	outcome string
	next    T
}

// declare compares a resource with the present one. exists tells whether there
// is one.
func declare[T manifest.Object](present, given T, exists bool, index uint64, now *timestamppb.Timestamp) (declaredChange[T], error) {
	none := declaredChange[T]{}
	about := given.GetKind() + "/" + bounded(given.GetName(), maxName)
	if err := checkDeclared(about, given); err != nil {
		return none, err
	}
	if !exists && given.GetResourceVersion() != 0 {
		return none, problem.New(problem.Conflict, about, "it does not exist any more").
			WithField("resourceVersion").WithHint("leave the resource version out to create it")
	}
	if exists {
		if err := checkVersion(about, given.GetResourceVersion(), present.GetResourceVersion()); err != nil {
			return none, err
		}
	}
	next := shallow(given)
	if !exists {
		setEnvelope(next, 1, index, now)
		return declaredChange[T]{outcomeCreated, next}, nil
	}
	setEnvelope(next, present.GetGeneration(), present.GetResourceVersion(), created(present))
	if proto.Equal(next, present) {
		return declaredChange[T]{outcomeUnchanged, present}, nil
	}
	generation := present.GetGeneration()
	if !sameButLabels(next, present) {
		generation++
	}
	setEnvelope(next, generation, index, created(present))
	return declaredChange[T]{outcomeConfigured, next}, nil
}

func checkDeclared(about string, o manifest.Object) error {
	if want := string(o.ProtoReflect().Descriptor().Name()); o.GetKind() != want {
		return problem.New(problem.Invalid, about, "its kind must be %s", want).WithField("kind")
	}
	if err := checkName(o.GetKind(), o.GetName()); err != nil {
		return err
	}
	return checkLabels(about, o.GetLabels())
}

// setEnvelope writes what the site sets. All kinds have these fields.
func setEnvelope(o manifest.Object, generation, version uint64, at *timestamppb.Timestamp) {
	message := o.ProtoReflect()
	fields := message.Descriptor().Fields()
	message.Set(fields.ByName("generation"), protoreflect.ValueOfUint64(generation))
	message.Set(fields.ByName("resource_version"), protoreflect.ValueOfUint64(version))
	message.Clear(fields.ByName("created"))
	if at != nil {
		message.Set(fields.ByName("created"), protoreflect.ValueOfMessage(at.ProtoReflect()))
	}
}

func created(o manifest.Object) *timestamppb.Timestamp {
	message := o.ProtoReflect()
	at, _ := message.Get(message.Descriptor().Fields().ByName("created")).Message().Interface().(*timestamppb.Timestamp)
	return at
}

// sameButLabels tells whether two resources differ in nothing but their labels.
func sameButLabels[T manifest.Object](a, b T) bool {
	if maps.Equal(a.GetLabels(), b.GetLabels()) {
		return proto.Equal(a, b)
	}
	a, b = shallow(a), shallow(b)
	for _, message := range []protoreflect.Message{a.ProtoReflect(), b.ProtoReflect()} {
		message.Clear(message.Descriptor().Fields().ByName("labels"))
	}
	return proto.Equal(a, b)
}
