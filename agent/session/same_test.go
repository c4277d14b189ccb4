package session

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestEveryFieldOfAReportCounts: a change of any field alone is a difference.
func TestEveryFieldOfAReportCounts(t *testing.T) {
	everyField(t, &sitev1.PlacementReport{}, sameReport)
	everyField(t, &skerryv1.PlacementStatus{}, sameStatus)
	everyField(t, &sitev1.NodeFacts{}, sameFacts)
}

func everyField[T proto.Message](t *testing.T, none T, same func(a, b T) bool) {
	t.Helper()
	message := none.ProtoReflect()
	if !same(none, proto.CloneOf(none)) {
		t.Errorf("an empty %s differs from another", message.Descriptor().Name())
	}
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		one := message.New()
		fill(one, field)
		changed := one.Interface().(T)
		if same(none, changed) || same(changed, none) {
			t.Errorf("%s counts for nothing", field.FullName())
		}
		if !same(changed, proto.CloneOf(changed)) {
			t.Errorf("two with the same %s differ", field.FullName())
		}
	}
}

// fill a field with something.
func fill(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	switch {
	case field.IsList():
		list := m.Mutable(field).List()
		if field.Message() != nil {
			list.AppendMutable()
			return
		}
		list.Append(something(field))
	case field.Message() != nil:
		m.Mutable(field)
	default:
		m.Set(field, something(field))
	}
}

func something(field protoreflect.FieldDescriptor) protoreflect.Value {
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	default:
		return protoreflect.ValueOfUint64(1)
	}
}
