// Command reference writes docs/manifest.md from the comments of the protobuf
// files that define the resources. With -check it only tells whether the
// document is up to date.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// sources define the kinds that users declare, each by the message of its name.
var sources = []string{"skerry/v1/resource.proto", "skerry/v1/vm.proto", "skerry/v1/project.proto", "skerry/v1/policy.proto"}

// kinds that users declare, in the order of the document.
var kinds = []protoreflect.Name{"Workload", "Volume", "Secret", "Project", "AccessPolicy"}

const (
	folder   = "shared/api"
	document = "docs/manifest.md"
)

const introduction = `# Manifest reference

Generated from the protobuf files in [shared/api/skerry/v1](../shared/api/skerry/v1) by
` + "`make generate`" + `; change the comments there.

A manifest is YAML or JSON, one or more documents, at most 1 MiB. Unknown fields,
duplicate keys and wrong types are errors that name the field; a manifest is taken
whole or not at all. CPU is in cores (` + "`0.25`" + `) or thousandths (` + "`250m`" + `), memory in bytes
with k, M, G, Ki, Mi, Gi, time as ` + "`500ms`, `10s`, `5m`, `1h`" + `.

` + "```yaml\n%s```\n"

func main() {
	check := flag.Bool("check", false, "only tell whether the document is up to date")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{folder}}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	files, err := compiler.Compile(context.Background(), sources...)
	if err != nil {
		return err
	}
	example, err := os.ReadFile("packaging/demo/web.yaml")
	if err != nil {
		return err
	}
	written := fmt.Sprintf(introduction, example)
	for _, kind := range kinds {
		for _, file := range files {
			if root := file.Messages().ByName(kind); root != nil {
				written += strings.Join(sections(root), "")
			}
		}
	}
	if !check {
		return os.WriteFile(document, []byte(written), 0o644)
	}
	present, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	if string(present) != written {
		return fmt.Errorf("%s is not up to date: run make generate", document)
	}
	return nil
}

// sections describes a message and, once each, those that it is made of.
func sections(root protoreflect.MessageDescriptor) []string {
	var out []string
	queue := []protoreflect.MessageDescriptor{root}
	for i := 0; i < len(queue); i++ {
		out = append(out, section(queue[i]))
		fields := queue[i].Fields()
		for j := range fields.Len() {
			next := fields.Get(j).Message()
			if next != nil && next.ParentFile() == root.ParentFile() && !fields.Get(j).IsMap() && !slices.Contains(queue, next) {
				queue = append(queue, next)
			}
		}
	}
	return out
}

func section(message protoreflect.MessageDescriptor) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| field | type | meaning |\n|---|---|---|\n", message.Name(), comment(message))
	fields := message.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", field.JSONName(), typeOf(field), comment(field))
	}
	return b.String()
}

// comment in one line.
func comment(d protoreflect.Descriptor) string {
	text := d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}

func typeOf(field protoreflect.FieldDescriptor) string {
	switch {
	case field.IsMap():
		return "map of text to " + scalar(field.MapValue())
	case field.IsList():
		return "list of " + scalar(field)
	default:
		return scalar(field)
	}
}

func scalar(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.MessageKind:
		if field.Message().FullName() == "google.protobuf.Timestamp" {
			return "time"
		}
		return fmt.Sprintf("[%s](#%s)", field.Message().Name(), strings.ToLower(string(field.Message().Name())))
	case protoreflect.StringKind:
		return "text"
	case protoreflect.BoolKind:
		return "true or false"
	default:
		return "number"
	}
}
