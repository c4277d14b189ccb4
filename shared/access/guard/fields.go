package guard

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// textAt is the text at the path of a message; empty where there is none.
func textAt(message any, path string) string {
	m, ok := message.(proto.Message)
	if !ok || path == "" {
		return ""
	}
	at := m.ProtoReflect()
	steps := strings.Split(path, ".")
	for _, step := range steps[:len(steps)-1] {
		field := at.Descriptor().Fields().ByName(protoreflect.Name(step))
		if field == nil || !at.Has(field) {
			return ""
		}
		at = at.Get(field).Message()
	}
	field := at.Descriptor().Fields().ByName(protoreflect.Name(steps[len(steps)-1]))
	if field == nil {
		return ""
	}
	return at.Get(field).String()
}
