package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// outputFlag is -o.
type outputFlag struct {
	value string
	// list: the command lists resources, which have more columns and names.
	list bool
}

var (
	dataOutputs = []string{"json", "yaml"}
	listOutputs = []string{"json", "yaml", "wide", "name"}
)

func (o *outputFlag) choices() []string {
	if o.list {
		return listOutputs
	}
	return dataOutputs
}

func (o *outputFlag) String() string { return o.value }

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return strings.Join(o.choices(), "|") }

func (o *outputFlag) Set(value string) error {
	if !slices.Contains(o.choices(), value) {
		return fmt.Errorf("must be one of %s", o.Type())
	}
	o.value = value
	return nil
}

// add adds -o to a command; list says whether it lists resources.
func (o *outputFlag) add(cmd *cobra.Command, list bool) {
	o.list = list
	usage := "print the answer as the API gives it"
	if list {
		usage += ", a table with more columns, or KIND/NAME alone"
	}
	cmd.Flags().VarP(o, "output", "o", usage)
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return o.choices(), cobra.ShellCompDirectiveNoFileComp
	}
	// The flag was added in the line above: this cannot fail.
	_ = cmd.RegisterFlagCompletionFunc("output", complete)
}

// isData reports whether the answer is wanted as data, not as text.
func (o *outputFlag) isData() bool { return o.value == "json" || o.value == "yaml" }

// write prints one message as data.
func (o *outputFlag) write(w io.Writer, message proto.Message) error {
	encoded, err := canonicalJSON(message)
	if err != nil {
		return err
	}
	return o.writeJSON(w, encoded)
}

// writeList prints resources as data: YAML as a manifest of several documents,
// JSON as one object, with what the answer is worth.
func (o *outputFlag) writeList(w io.Writer, resources []*skerryv1.Resource, freshness *skerryv1.Freshness) error {
	items := make([]json.RawMessage, 0, len(resources))
	for i, resource := range resources {
		encoded, err := bare(resource)
		if err != nil {
			return err
		}
		if o.value == "json" {
			items = append(items, encoded)
			continue
		}
		if i > 0 {
			if _, err := fmt.Fprintln(w, "---"); err != nil {
				return err
			}
		}
		if err := o.writeJSON(w, encoded); err != nil {
			return err
		}
	}
	if o.value != "json" {
		return nil
	}
	worth, err := canonicalJSON(freshness)
	if err != nil {
		return err
	}
	whole, err := json.Marshal(struct {
		Resources []json.RawMessage `json:"resources"`
		Freshness json.RawMessage   `json:"freshness"`
	}{items, worth})
	if err != nil {
		return err
	}
	return o.writeJSON(w, whole)
}

// writeResource prints one resource as data.
func (o *outputFlag) writeResource(w io.Writer, resource *skerryv1.Resource) error {
	encoded, err := bare(resource)
	if err != nil {
		return err
	}
	return o.writeJSON(w, encoded)
}

// bare is the resource without the wrapper that tells its kind: the kind is in
// its envelope.
func bare(resource *skerryv1.Resource) ([]byte, error) {
	message := inside(resource)
	if message == nil {
		return nil, fmt.Errorf("a resource of a kind that this version does not know")
	}
	return canonicalJSON(message)
}

// canonicalJSON is the API's JSON. protojson varies its white space on purpose.
func canonicalJSON(message proto.Message) ([]byte, error) {
	encoded, err := protojson.Marshal(message)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, encoded); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}

func (o *outputFlag) writeJSON(w io.Writer, encoded []byte) error {
	var out bytes.Buffer
	if o.value == "json" {
		if err := json.Indent(&out, encoded, "", "  "); err != nil {
			return err
		}
		out.WriteByte('\n')
	} else if err := jsonToYAML(&out, encoded); err != nil {
		return err
	}
	_, err := w.Write(out.Bytes())
	return err
}

// jsonToYAML keeps the order of fields: JSON is YAML in another style.
func jsonToYAML(w io.Writer, encoded []byte) error {
	var document yaml.Node
	if err := yaml.Unmarshal(encoded, &document); err != nil {
		return err
	}
	blockStyle(&document)
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(&document); err != nil {
		return err
	}
	return encoder.Close()
}

func blockStyle(node *yaml.Node) {
	if len(node.Content) > 0 || node.Kind == yaml.ScalarNode {
		node.Style = 0
	}
	for _, child := range node.Content {
		blockStyle(child)
	}
}
