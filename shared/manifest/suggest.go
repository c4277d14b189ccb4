package manifest

import (
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// unknown reports a field that does not exist, with the one that was probably
// meant: the nearest name, else the same name elsewhere in a workload, else,
// once for each kind of message, all names there are.
func (d *decoder) unknown(key *yaml.Node, path string, descriptor protoreflect.MessageDescriptor) {
	if near := nearest(key.Value, descriptor.Fields()); near != "" {
		d.report(key, path, "unknown field, did you mean %q?", near)
		return
	}
	root := (&skerryv1.Workload{}).ProtoReflect().Descriptor()
	if other := elsewhere(key.Value, "", root); other != "" {
		d.report(key, path, "unknown field here, did you mean %q?", other)
		return
	}
	p := d.report(key, path, "unknown field")
	if !d.listed[descriptor.FullName()] {
		d.listed[descriptor.FullName()] = true
		p.Hint = "known here: " + strings.Join(names(descriptor), ", ")
	}
}

// nearest is the field whose name is at most a third away from what was
// written, by edit distance.
func nearest(written string, fields protoreflect.FieldDescriptors) string {
	best, bestDistance := "", max(1, len(written)/3)+1
	for i := range fields.Len() {
		name := fields.Get(i).JSONName()
		distance := editDistance(strings.ToLower(written), strings.ToLower(name))
		if distance < bestDistance && distance < len(name) {
			best, bestDistance = name, distance
		}
	}
	return best
}

// elsewhere is the path of the field of this name below a message, found by
// going through the descriptors, which have no cycles.
func elsewhere(written, path string, descriptor protoreflect.MessageDescriptor) string {
	fields := descriptor.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		fieldPath := join(path, field.JSONName())
		if path != "" && plainName(field.JSONName()) == plainName(written) {
			return fieldPath
		}
		if field.Kind() != protoreflect.MessageKind || field.IsMap() || setBySite[field.JSONName()] {
			continue
		}
		if field.IsList() {
			fieldPath += "[]"
		}
		if found := elsewhere(written, fieldPath, field.Message()); found != "" {
			return found
		}
	}
	return ""
}

// plainName makes host_port, host-port and hostPort equal.
func plainName(name string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(name))
}

// names of the fields that a user may write.
func names(descriptor protoreflect.MessageDescriptor) []string {
	var all []string
	for i := range descriptor.Fields().Len() {
		if name := descriptor.Fields().Get(i).JSONName(); !setBySite[name] {
			all = append(all, name)
		}
	}
	return all
}

// editDistance is Levenshtein's, one row at a time, over bytes.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
