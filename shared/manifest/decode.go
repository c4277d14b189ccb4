package manifest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	"skerry.dev/shared/problem"
)

// decoder fills protobuf messages from YAML, strictly.
type decoder struct {
	name     string
	problems *problems
	// listed are the messages whose fields have been listed for the user.
	listed map[protoreflect.FullName]bool
	// hide what is written: the document is a secret.
	hide bool
	// zeros are written out in the document.
	zeros []zero
}

// zero is a 0 that stands in the document, where leaving it out looks the same.
type zero struct {
	node    *yaml.Node
	path    string
	message protoreflect.Message
	field   protoreflect.FieldDescriptor
}

// defaulted refuses each 0 in whose place a default has come: who writes 0 does
// not mean 1.
func (d *decoder) defaulted() {
	for _, z := range d.zeros {
		became := z.message.Get(z.field).Uint()
		if became == 0 {
			continue
		}
		p := d.report(z.node, z.path, "it must be at least 1")
		p.Hint = fmt.Sprintf("leave it out for %d", became)
		if z.path == "update.maxUnavailable" {
			p.Hint += ", or give maxSurge beside it, so that new placements start before old ones end"
		}
	}
}

// report notes a problem; the caller may add a hint to it.
func (d *decoder) report(node *yaml.Node, path, format string, args ...any) *problem.Error {
	p := problem.New(problem.Invalid, position(d.name, node), format, args...).WithField(path)
	d.problems.add(p)
	return p
}

// setBySite are fields of the envelope that an answer of the site holds. They
// are skipped, so that what `skerry get -o yaml` prints can be edited and
// applied.
var setBySite = map[string]bool{"generation": true, "created": true, "keys": true, "status": true}

// message fills one message from a mapping of plain YAML.
func (d *decoder) message(node *yaml.Node, path string, message protoreflect.Message) {
	if node.Kind != yaml.MappingNode {
		d.report(node, path, "expected fields, got %s", d.describe(node))
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if path == "" && setBySite[key.Value] && message.Descriptor().Fields().ByJSONName(key.Value) != nil {
			continue
		}
		fieldPath := join(path, key.Value)
		field := message.Descriptor().Fields().ByJSONName(key.Value)
		if field == nil {
			d.unknown(key, fieldPath, message.Descriptor())
			continue
		}
		d.field(value, fieldPath, message, field)
	}
}

func (d *decoder) field(node *yaml.Node, path string, message protoreflect.Message, field protoreflect.FieldDescriptor) {
	switch {
	case field.IsMap():
		d.stringMap(node, path, message.Mutable(field).Map(), field)
	case field.IsList():
		d.list(node, path, message.Mutable(field).List(), field)
	case isSwitch(node, field):
		if node.Value == "true" {
			message.Mutable(field)
		}
	case field.Kind() == protoreflect.MessageKind:
		d.message(node, path, message.Mutable(field).Message())
	default:
		if value, ok := d.scalar(node, path, field); ok {
			message.Set(field, value)
			if field.Kind() == protoreflect.Uint32Kind && value.Uint() == 0 {
				d.zeros = append(d.zeros, zero{node, path, message, field})
			}
		}
	}
}

// isSwitch: `runToCompletion: true` stands for all its defaults, false for its
// absence.
func isSwitch(node *yaml.Node, field protoreflect.FieldDescriptor) bool {
	return field.FullName() == "skerry.v1.Workload.run_to_completion" && node.Kind == yaml.ScalarNode &&
		node.Tag == "!!bool" && (node.Value == "true" || node.Value == "false")
}

func (d *decoder) stringMap(node *yaml.Node, path string, into protoreflect.Map, field protoreflect.FieldDescriptor) {
	if node.Kind != yaml.MappingNode {
		d.report(node, path, "expected key: value pairs, got %s", d.describe(node))
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		switch {
		case isNothing(value):
			d.report(value, join(path, key), "expected text, got nothing").Hint = `write "" for empty text`
		case value.Kind != yaml.ScalarNode:
			d.report(value, join(path, key), "expected text, got %s", d.describe(value))
		default:
			if set, ok := d.scalar(value, join(path, key), field.MapValue()); ok {
				into.Set(protoreflect.ValueOfString(key).MapKey(), set)
			}
		}
	}
}

func (d *decoder) list(node *yaml.Node, path string, into protoreflect.List, field protoreflect.FieldDescriptor) {
	if node.Kind != yaml.SequenceNode {
		d.report(node, path, "expected a list, got %s", d.describe(node))
		return
	}
	for i, item := range node.Content {
		itemPath := fmt.Sprintf("%s[%d]", path, i)
		if field.Kind() == protoreflect.MessageKind {
			d.message(item, itemPath, into.AppendMutable().Message())
			continue
		}
		if value, ok := d.scalar(item, itemPath, field); ok {
			into.Append(value)
		}
	}
}

func (d *decoder) scalar(node *yaml.Node, path string, field protoreflect.FieldDescriptor) (protoreflect.Value, bool) {
	if node.Kind == yaml.ScalarNode && !isNothing(node) {
		if value, ok := scalarOf(node, field.Kind()); ok {
			return value, true
		}
	}
	d.report(node, path, "expected %s, got %s", wantedFor(node, field.Kind()), d.describe(node))
	return protoreflect.Value{}, false
}

func scalarOf(node *yaml.Node, kind protoreflect.Kind) (protoreflect.Value, bool) {
	switch kind {
	case protoreflect.StringKind:
		// A bare 8080 or true is taken as it is written.
		return protoreflect.ValueOfString(node.Value), true
	case protoreflect.BoolKind:
		value, err := strconv.ParseBool(node.Value)
		return protoreflect.ValueOfBool(value), err == nil && node.Tag == "!!bool"
	case protoreflect.Int32Kind:
		value, err := strconv.ParseInt(node.Value, 10, 32)
		return protoreflect.ValueOfInt32(int32(value)), err == nil && node.Tag == "!!int"
	case protoreflect.Uint32Kind:
		value, err := strconv.ParseUint(node.Value, 10, 32)
		return protoreflect.ValueOfUint32(uint32(value)), err == nil && isDecimal(node)
	case protoreflect.Uint64Kind:
		// JSON writes numbers of 64 bits as text.
		value, err := strconv.ParseUint(node.Value, 10, 64)
		return protoreflect.ValueOfUint64(value), err == nil && (isDecimal(node) || node.Tag == "!!str")
	default:
		return protoreflect.Value{}, false
	}
}

// isDecimal: 010 is eight to some readers of YAML and ten to others.
func isDecimal(node *yaml.Node) bool {
	return node.Tag == "!!int" && (node.Value == "0" || !strings.HasPrefix(node.Value, "0"))
}

// wantedFor says what is wanted instead of this one.
func wantedFor(node *yaml.Node, kind protoreflect.Kind) string {
	if _, err := strconv.ParseUint(node.Value, 10, 32); kind == protoreflect.Uint32Kind && errors.Is(err, strconv.ErrRange) {
		return "a smaller number"
	}
	return wanted(kind)
}

func wanted(kind protoreflect.Kind) string {
	switch kind {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind:
		return "text"
	case protoreflect.Int32Kind:
		return "a whole number"
	default:
		return "a whole number that is not negative"
	}
}

// isNothing: `field:` with no value, `~` or `null`.
func isNothing(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// describe says what a node is, for errors; of a secret, not what is in it.
func (d *decoder) describe(node *yaml.Node) string {
	if d.hide && node.Kind == yaml.ScalarNode && !isNothing(node) {
		return "text"
	}
	return describe(node)
}

// describe says what a node is, for errors; long text is cut.
func describe(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "fields"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case isNothing(node):
		return "nothing"
	case node.Tag == "!!str":
		return strconv.Quote(shorten(node.Value))
	default:
		return shorten(node.Value)
	}
}

func shorten(text string) string {
	const longest = 40
	runes := []rune(text[:min(len(text), 4*longest)])
	if len(runes) <= longest {
		return string(runes)
	}
	return string(runes[:longest]) + "..."
}

func join(path, name string) string {
	name = shorten(name)
	if path == "" {
		return name
	}
	return path + "." + name
}
