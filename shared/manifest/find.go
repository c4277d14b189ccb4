package manifest

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// find returns the node at a field path such as `container.ports[1].name`, or
// the nearest one above it that is there.
func find(node *yaml.Node, path string) *yaml.Node {
	for path != "" {
		next, rest := step(node, path)
		if next == nil {
			return node
		}
		node, path = next, rest
	}
	return node
}

// step goes one level down. Keys of labels hold dots themselves, so the path
// is not split but compared with the keys that are there, longest first.
func step(node *yaml.Node, path string) (next *yaml.Node, rest string) {
	switch node.Kind {
	case yaml.MappingNode:
		longest := -1
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i].Value
			if after, ok := strings.CutPrefix(path, key); ok && len(key) > longest &&
				(after == "" || after[0] == '.' || after[0] == '[') {
				next, rest, longest = node.Content[i+1], strings.TrimPrefix(after, "."), len(key)
			}
		}
		return next, rest
	case yaml.SequenceNode:
		index, after, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
		if i, err := strconv.Atoi(index); ok && err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], strings.TrimPrefix(after, ".")
		}
	}
	return nil, ""
}

// child returns the value of a key of a mapping, nil if it is not there.
func child(node *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}
