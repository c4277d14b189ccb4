package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// MaxBytes of one manifest.
	MaxBytes = 1 << 20
	// maxDocuments in one manifest: what one apply takes.
	maxDocuments = 64
	// maxDepth of nesting.
	maxDepth = 32
)

// Parse reads the documents of a manifest. name is used in errors, as in
// `web.yaml:7`. Nothing is returned unless everything is right. The error is
// one *problem.Error, or, when several things are wrong, one that wraps up to
// ten of them (Unwrap() []error).
func Parse(name string, data []byte) ([]*skerryv1.Resource, error) {
	if len(data) > MaxBytes {
		return nil, problem.New(problem.Invalid, name, "it is larger than %d KiB", MaxBytes>>10).
			WithHint("split it; images and data do not belong into a manifest")
	}
	roots, err := documents(name, data)
	if err != nil {
		return nil, err
	}
	r := &reader{name: name, lines: map[string]int{}}
	for _, root := range roots {
		r.document(root)
	}
	if err := r.problems.join(name); err != nil {
		return nil, err
	}
	return r.resources, nil
}

// documents splits a manifest; empty documents are left out.
func documents(name string, data []byte) ([]*yaml.Node, error) {
	if json.Valid(data) {
		// Tabs are white space in JSON but not in YAML.
		data = bytes.ReplaceAll(data, []byte("\t"), []byte(" "))
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var roots []*yaml.Node
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, syntaxProblem(name, err)
		}
		if isEmpty(&document) {
			continue
		}
		if len(roots) == maxDocuments {
			return nil, problem.New(problem.Invalid, name, "it holds more than %d documents", maxDocuments).WithHint("split it")
		}
		roots = append(roots, document.Content[0])
	}
	if len(roots) == 0 {
		return nil, problem.New(problem.Invalid, name, "there is nothing in it").
			WithHint("a manifest begins with: kind: Workload")
	}
	return roots, nil
}

func isEmpty(document *yaml.Node) bool {
	return len(document.Content) == 0 || isNothing(document.Content[0])
}

var syntaxLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)`)

// syntaxProblem moves the line of a parser's error to where the lines of all
// problems are.
func syntaxProblem(name string, err error) error {
	found := syntaxLine.FindStringSubmatch(err.Error())
	if found == nil {
		return problem.New(problem.Invalid, name, "it is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	line, convErr := strconv.Atoi(found[1])
	if convErr == nil && strings.HasPrefix(found[2], "did not find expected") {
		line++ // the parser, unlike the scanner, counts these from 0
	}
	return problem.New(problem.Invalid, fmt.Sprintf("%s:%d", name, line), "it is not YAML: %s", found[2])
}

// reader gathers the resources of one manifest, or what is wrong with them.
type reader struct {
	name      string
	resources []*skerryv1.Resource
	problems  problems
	// lines tells where each resource begins.
	lines map[string]int
}

func (r *reader) document(root *yaml.Node) {
	d := &decoder{name: r.name, problems: &r.problems, listed: map[protoreflect.FullName]bool{}}
	before := r.problems.count()
	d.plain(root, "", 0)
	if r.problems.count() > before {
		return
	}
	kind, ok := d.kindOf(root)
	if !ok {
		return
	}
	object := kind.new()
	d.message(root, "", object.ProtoReflect())
	if r.problems.count() > before {
		return
	}
	kind.fill(object)
	d.defaulted()
	resource := Wrap(object)
	r.wrong(root, check(resource))
	r.once(root, object)
	r.resources = append(r.resources, resource)
}

// wrong adds problems of one resource in the order of their lines.
func (r *reader) wrong(root *yaml.Node, found []*problem.Error) {
	line := func(p *problem.Error) int { return find(root, p.Field).Line }
	slices.SortStableFunc(found, func(a, b *problem.Error) int { return line(a) - line(b) })
	for _, p := range found {
		p.Subject = fmt.Sprintf("%s:%d", r.name, line(p))
		r.problems.add(p)
	}
}

// once refuses a second resource of the same name.
func (r *reader) once(root *yaml.Node, o Object) {
	key := o.GetKind() + "/" + o.GetProject() + "/" + o.GetName()
	if line, twice := r.lines[key]; twice {
		r.problems.add(problem.New(problem.Invalid, position(r.name, find(root, "name")),
			"the %s %s is given twice; first in line %d", words(o.GetKind()), o.GetName(), line).WithField("name"))
		return
	}
	r.lines[key] = root.Line
}

// words of the name of a kind: AccessPolicy is an access policy.
func words(kind string) string {
	return strings.ToLower(inner.ReplaceAllString(kind, " $0"))
}

var inner = regexp.MustCompile(`\B[A-Z]`)

// kindOf the document, if it declares what can be applied; if not, it says
// what to do.
func (d *decoder) kindOf(root *yaml.Node) (applicable, bool) {
	if root.Kind != yaml.MappingNode {
		d.report(root, "", "a resource is a mapping that begins with `kind:`, got %s", describe(root))
		return applicable{}, false
	}
	kind := child(root, "kind")
	switch {
	case kind == nil:
		d.report(root, "kind", "it is missing").Hint = "begin with: kind: Workload"
	case kind.Kind != yaml.ScalarNode || isNothing(kind):
		d.report(kind, "kind", "expected text, got %s", describe(kind))
	default:
		if known, ok := applicables[kind.Value]; ok {
			d.hide = kind.Value == "Secret"
			return known, true
		}
		d.wrongKind(kind)
	}
	return applicable{}, false
}

func (d *decoder) wrongKind(kind *yaml.Node) {
	instead := map[string]string{
		"Placement": "the site makes placements; change the workload",
		"Node":      "nodes join: skerry token create --role node, then skerry join on the machine",
		"Image":     "images are loaded: skerry image load FILE.tar",
	}
	if hint, known := instead[kind.Value]; known {
		d.report(kind, "kind", "%ss cannot be applied", kind.Value).Hint = hint
		return
	}
	d.report(kind, "kind", "there is no kind %s", describe(kind)).Hint = "the kinds to apply are " + toApply()
}

func position(name string, node *yaml.Node) string { return fmt.Sprintf("%s:%d", name, node.Line) }
