package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"

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
	// maxProblems told at once.
	maxProblems = 10
)

// Parse reads the documents of a manifest. name is used in errors, as in
// `web.yaml:7`. Nothing is returned unless everything is right; all problems
// of the first wrong document are told, up to ten.
func Parse(name string, data []byte) ([]*skerryv1.Resource, error) {
	if len(data) > MaxBytes {
		return nil, problem.New(problem.Invalid, name, "it is larger than %d KiB", MaxBytes>>10).
			WithHint("split it; images and data do not belong into a manifest")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var resources []*skerryv1.Resource
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, problem.New(problem.Invalid, name, "it is not YAML: %w", err)
		}
		if isEmpty(&document) {
			continue
		}
		if len(resources) == maxDocuments {
			return nil, problem.New(problem.Invalid, name, "it holds more than %d documents", maxDocuments).WithHint("split it")
		}
		resource, err := parseDocument(name, document.Content[0])
		if err != nil {
			return nil, err
		}
		resources = append(resources, resource)
	}
	if len(resources) == 0 {
		return nil, problem.New(problem.Invalid, name, "there is nothing in it")
	}
	return resources, nil
}

func isEmpty(document *yaml.Node) bool {
	return len(document.Content) == 0 || (document.Content[0].Kind == yaml.ScalarNode && document.Content[0].Tag == "!!null")
}

func parseDocument(name string, root *yaml.Node) (*skerryv1.Resource, error) {
	kind, err := kindOf(name, root)
	if err != nil {
		return nil, err
	}
	if kind != "Workload" {
		return nil, wrongKind(name, root, kind)
	}
	workload := &skerryv1.Workload{}
	d := &decoder{name: name}
	d.message(root, "", workload.ProtoReflect(), 0)
	if err := d.err(); err != nil {
		return nil, err
	}
	Default(workload)
	resource := &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: workload}}
	if err := Validate(resource); err != nil {
		return nil, locate(name, root, err)
	}
	return resource, nil
}

func kindOf(name string, root *yaml.Node) (string, error) {
	if root.Kind != yaml.MappingNode {
		return "", problem.New(problem.Invalid, position(name, root), "a resource is a mapping that begins with `kind:`")
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "kind" {
			return root.Content[i+1].Value, nil
		}
	}
	return "", problem.New(problem.Invalid, position(name, root), "the kind is missing").WithField("kind").
		WithHint("begin with: kind: Workload")
}

func wrongKind(name string, root *yaml.Node, kind string) error {
	p := problem.New(problem.Invalid, position(name, root), "a %s cannot be applied", kind).WithField("kind")
	switch kind {
	case "Placement":
		return p.WithHint("placements are made by the site; change the workload")
	case "Node":
		return p.WithHint("nodes join: skerry token create --role node, then skerry join on the machine")
	case "Image":
		return p.WithHint("images are loaded: skerry image load FILE.tar")
	default:
		return problem.New(problem.Invalid, position(name, root), "there is no kind %q", kind).WithField("kind").
			WithHint("the kind to apply is Workload")
	}
}

func position(name string, node *yaml.Node) string { return fmt.Sprintf("%s:%d", name, node.Line) }

// locate puts the line of the field to blame into a problem.
func locate(name string, root *yaml.Node, err error) error {
	var p *problem.Error
	if !errors.As(err, &p) {
		return err
	}
	located := *p
	located.Subject = position(name, find(root, p.Field))
	return &located
}
