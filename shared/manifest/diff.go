package manifest

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxChanges that one difference tells, and the longest value in it.
	maxChanges = 100
	maxShown   = 200
)

// bookkeeping of the site is no difference between two declarations.
var bookkeeping = []protoreflect.Name{"generation", "resource_version", "created", "kind"}

// Diff tells in which fields two messages of one type differ, in the order of
// the manifest reference. A message that is nil has no fields.
func Diff(from, to proto.Message) []*skerryv1.FieldChange {
	d := &differ{}
	d.message("", from.ProtoReflect(), to.ProtoReflect())
	return d.found
}

type differ struct{ found []*skerryv1.FieldChange }

func (d *differ) add(field, from, to string) {
	if len(d.found) < maxChanges {
		d.found = append(d.found, &skerryv1.FieldChange{Field: field, From: clip(from), To: clip(to)})
	}
}

func clip(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "…"
}

func (d *differ) message(path string, from, to protoreflect.Message) {
	fields := to.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if (path == "" && slices.Contains(bookkeeping, field.Name())) || (!from.Has(field) && !to.Has(field)) {
			continue
		}
		at := join(path, field.JSONName())
		switch {
		case field.IsMap():
			d.entries(at, field, from.Get(field).Map(), to.Get(field).Map())
		case field.IsList():
			d.list(at, field, from.Get(field).List(), to.Get(field).List())
		case field.Message() != nil && field.Message().FullName() != "google.protobuf.Timestamp":
			d.message(at, from.Get(field).Message(), to.Get(field).Message())
		default:
			d.scalar(at, shown(field, from), shown(field, to))
		}
	}
}

func (d *differ) scalar(at, from, to string) {
	if from != to {
		d.add(at, from, to)
	}
}

// shown is the value of a field as text; empty when it is not there.
func shown(field protoreflect.FieldDescriptor, m protoreflect.Message) string {
	if !m.Has(field) {
		return ""
	}
	return m.Get(field).String()
}

func (d *differ) entries(at string, field protoreflect.FieldDescriptor, from, to protoreflect.Map) {
	keys := map[string]bool{}
	for _, m := range []protoreflect.Map{from, to} {
		m.Range(func(key protoreflect.MapKey, _ protoreflect.Value) bool {
			keys[key.String()] = true
			return true
		})
	}
	text := func(m protoreflect.Map, key string) string {
		if value := m.Get(protoreflect.ValueOfString(key).MapKey()); value.IsValid() {
			return value.String()
		}
		return ""
	}
	sorted := make([]string, 0, len(keys))
	for key := range keys {
		sorted = append(sorted, key)
	}
	slices.Sort(sorted)
	for _, key := range sorted {
		d.scalar(at+"["+key+"]", text(from, key), text(to, key))
	}
}

func (d *differ) list(at string, field protoreflect.FieldDescriptor, from, to protoreflect.List) {
	if field.Message() == nil {
		d.scalar(at, texts(from), texts(to))
		return
	}
	none := to.NewElement().Message()
	for i := range max(from.Len(), to.Len()) {
		a, b := none, none
		if i < from.Len() {
			a = from.Get(i).Message()
		}
		if i < to.Len() {
			b = to.Get(i).Message()
		}
		d.message(fmt.Sprintf("%s[%d]", at, i), a, b)
	}
}

func texts(l protoreflect.List) string {
	var all []string
	for i := range l.Len() {
		all = append(all, l.Get(i).String())
	}
	return strings.Join(all, " ")
}
