package manifest

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// plain reports everything about a document that is more than plain mappings,
// lists and text: anchors and aliases (which can make a small file huge), tags,
// keys that are not text, keys given twice, deep nesting.
func (d *decoder) plain(node *yaml.Node, path string, depth int) {
	switch {
	case depth > maxDepth:
		d.report(node, path, "it is nested deeper than %d", maxDepth)
		return
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		d.report(node, path, "anchors and aliases are not taken").Hint = "write it out"
		return
	case node.Style&yaml.TaggedStyle != 0:
		d.report(node, path, "the tag %s is not taken", shorten(node.Tag)).Hint = "leave it out"
		return
	}
	switch node.Kind {
	case yaml.MappingNode:
		d.plainMapping(node, path, depth)
	case yaml.SequenceNode:
		for i, item := range node.Content {
			d.plain(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
		}
	}
}

func (d *decoder) plainMapping(node *yaml.Node, path string, depth int) {
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		keyPath := join(path, key.Value)
		line, twice := seen[key.Value]
		switch {
		case key.Kind == yaml.AliasNode || key.Anchor != "" || key.Tag == "!!merge":
			d.report(key, keyPath, "anchors and aliases are not taken").Hint = "write it out"
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0:
			d.report(key, path, "a key must be text, got %s", describe(key))
		case twice:
			d.report(key, keyPath, "it is given twice; first in line %d", line)
		default:
			d.plain(value, keyPath, depth+1)
		}
		seen[key.Value] = key.Line
	}
}
