package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"skerry.dev/shared/problem"
)

// decoder fills protobuf messages from YAML, strictly, and gathers problems.
type decoder struct {
	name     string
	problems []*problem.Error
}

func (d *decoder) report(node *yaml.Node, path, format string, args ...any) *problem.Error {
	p := problem.New(problem.Invalid, position(d.name, node), format, args...).WithField(path)
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, p)
	}
	return p
}

func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	if len(d.problems) == 1 {
		return d.problems[0]
	}
	lines := make([]error, 0, len(d.problems))
	for _, p := range d.problems {
		lines = append(lines, p)
	}
	return problem.New(problem.Invalid, "", "%w", errors.Join(lines...))
}

// setBySite are fields of the envelope that users read but do not write.
var setBySite = map[protoreflect.Name]bool{"generation": true, "created": true}

func (d *decoder) message(node *yaml.Node, path string, message protoreflect.Message, depth int) {
	if depth > maxDepth {
		d.report(node, path, "it is nested deeper than %d", maxDepth)
		return
	}
	if node.Kind != yaml.MappingNode {
		d.report(node, path, "expected fields, got %s", describe(node))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		fieldPath := join(path, key.Value)
		if line, twice := seen[key.Value]; twice {
			d.report(key, fieldPath, "it is given twice; first in line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		field := message.Descriptor().Fields().ByJSONName(key.Value)
		if field == nil {
			d.unknown(key, fieldPath, message.Descriptor())
			continue
		}
		if setBySite[field.Name()] && path == "" {
			d.report(key, fieldPath, "it is set by the site and cannot be applied")
			continue
		}
		d.field(value, fieldPath, message, field, depth)
	}
}

func (d *decoder) unknown(key *yaml.Node, path string, descriptor protoreflect.MessageDescriptor) {
	p := d.report(key, path, "unknown field")
	if near := nearest(key.Value, descriptor.Fields()); near != "" {
		p.Hint = fmt.Sprintf("did you mean %q?", near)
	}
}

func (d *decoder) field(node *yaml.Node, path string, message protoreflect.Message, field protoreflect.FieldDescriptor, depth int) {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		d.report(node, path, "anchors and aliases are not taken").Hint = "write it out"
		return
	}
	switch {
	case field.IsMap():
		d.stringMap(node, path, message.Mutable(field).Map())
	case field.IsList():
		d.list(node, path, message, field, depth)
	case field.Kind() == protoreflect.MessageKind:
		d.message(node, path, message.Mutable(field).Message(), depth+1)
	default:
		if value, ok := d.scalar(node, path, field); ok {
			message.Set(field, value)
		}
	}
}

func (d *decoder) stringMap(node *yaml.Node, path string, into protoreflect.Map) {
	if node.Kind != yaml.MappingNode {
		d.report(node, path, "expected key: value pairs, got %s", describe(node))
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		keyPath := join(path, key.Value)
		mapKey := protoreflect.ValueOfString(key.Value).MapKey()
		switch {
		case into.Has(mapKey):
			d.report(key, keyPath, "it is given twice")
		case value.Kind != yaml.ScalarNode || value.Anchor != "":
			d.report(value, keyPath, "expected text, got %s", describe(value))
		default:
			into.Set(mapKey, protoreflect.ValueOfString(value.Value))
		}
	}
}

func (d *decoder) list(node *yaml.Node, path string, message protoreflect.Message, field protoreflect.FieldDescriptor, depth int) {
	if node.Kind != yaml.SequenceNode {
		d.report(node, path, "expected a list, got %s", describe(node))
		return
	}
	list := message.Mutable(field).List()
	for i, item := range node.Content {
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		if item.Kind == yaml.AliasNode || item.Anchor != "" {
			d.report(item, itemPath, "anchors and aliases are not taken").Hint = "write it out"
			continue
		}
		if field.Kind() == protoreflect.MessageKind {
			element := list.NewElement()
			d.message(item, itemPath, element.Message(), depth+1)
			list.Append(element)
			continue
		}
		if value, ok := d.scalar(item, itemPath, field); ok {
			list.Append(value)
		}
	}
}

func (d *decoder) scalar(node *yaml.Node, path string, field protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		d.report(node, path, "expected %s, got %s", wanted(field), describe(node))
		return protoreflect.Value{}, false
	}
	switch field.Kind() {
	case protoreflect.StringKind:
		// A bare 8080 or true is taken as it is written.
		return protoreflect.ValueOfString(node.Value), true
	case protoreflect.BoolKind:
		if value, err := strconv.ParseBool(node.Value); err == nil && node.Tag == "!!bool" {
			return protoreflect.ValueOfBool(value), true
		}
	case protoreflect.Uint32Kind:
		if value, err := strconv.ParseUint(node.Value, 10, 32); err == nil && node.Tag == "!!int" {
			return protoreflect.ValueOfUint32(uint32(value)), true
		}
	case protoreflect.Uint64Kind:
		if value, err := strconv.ParseUint(node.Value, 10, 64); err == nil && node.Tag == "!!int" {
			return protoreflect.ValueOfUint64(value), true
		}
	}
	d.report(node, path, "expected %s, got %s", wanted(field), describe(node))
	return protoreflect.Value{}, false
}

func wanted(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind:
		return "text"
	default:
		return "a whole number that is not negative"
	}
}

// describe says what a node is, for errors; long text is cut.
func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "fields"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if node.Tag == "!!null" {
		return "nothing"
	}
	const longest = 40
	if len(node.Value) > longest {
		return strconv.Quote(node.Value[:longest]) + "..."
	}
	return strconv.Quote(node.Value)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// nearest is the field whose name is at most a third away from what was
// written, by edit distance.
func nearest(written string, fields protoreflect.FieldDescriptors) string {
	best, bestDistance := "", len(written)/3+2
	for i := range fields.Len() {
		name := fields.Get(i).JSONName()
		if distance := editDistance(strings.ToLower(written), strings.ToLower(name)); distance < bestDistance {
			best, bestDistance = name, distance
		}
	}
	return best
}

// editDistance is Levenshtein's, one row at a time.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
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

var pathPart = regexp.MustCompile(`[^.\[\]]+`)

// find returns the node at a field path, or the nearest one above it that is
// there.
func find(root *yaml.Node, path string) *yaml.Node {
	node := root
	for _, part := range pathPart.FindAllString(path, -1) {
		next := child(node, part)
		if next == nil {
			break
		}
		node = next
	}
	return node
}

func child(node *yaml.Node, part string) *yaml.Node {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == part {
				return node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(part); err == nil && i < len(node.Content) {
			return node.Content[i]
		}
	}
	return nil
}
