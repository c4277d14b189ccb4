package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// maxApply is how many resources one apply takes.
const maxApply = 64

type applyOptions struct {
	*app
	files  []string
	dryRun bool
	wait   whenConnected
	output outputFlag
}

func applyCommand(a *app) *cobra.Command {
	o := &applyOptions{app: a}
	cmd := &cobra.Command{
		Use:     "apply -f FILE",
		GroupID: GroupChange,
		Short:   "Make the site run what a manifest says",
		Long: `Apply creates or changes the resources that manifests declare, all of them or
none. It returns when the change is safe on a majority of the voters; skerry
get placements and skerry why show what follows from it.

Manifests are YAML or JSON (docs/manifest.md). An unknown field is an error. A
manifest with a resourceVersion is refused when the workload has changed since.

With --when-connected a change that cannot be made now waits on the node that
answers, for a week at most, and is made as yours when there is a coordinator: or
refused, if somebody has changed the same thing meanwhile. skerry get queued shows
what waits and what became of it; skerry delete queued ID withdraws it.`,
		Example: `  skerry apply -f web.yaml
  skerry apply -f web.yaml -f db.yaml --dry-run
  generate | skerry apply -f -
  skerry apply -f web.yaml --when-connected`,
		Args: Args(0, 0),
		RunE: o.run,
	}
	addFiles(cmd, &o.files)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "check everything on the site, change nothing")
	o.wait.add(cmd)
	o.output.add(cmd, false)
	return cmd
}

func addFiles(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "file", "f", nil, "manifest `FILE`, - for standard input; may be repeated")
	// The flag was added in the line above: this cannot fail.
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
}

func (o *applyOptions) run(cmd *cobra.Command, _ []string) error {
	if len(o.files) == 0 {
		return usage(cmd, "there is no manifest")
	}
	resources, err := readManifests(o.In, o.files, o.readFiles)
	if err != nil {
		return err
	}
	return o.send(cmd, resources)
}

// send applies resources and tells what became of each.
func (o *applyOptions) send(cmd *cobra.Command, resources []*skerryv1.Resource) error {
	id, err := o.requestID()
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Resources().Apply, &skerryv1.ApplyRequest{
			Resources: resources, RequestId: id, DryRun: o.dryRun,
		})
		if err != nil && !o.dryRun {
			return o.later(ctx, c, o.wait, &skerryv1.DeferredChange{
				RequestId: id, Change: &skerryv1.DeferredChange_Apply{Apply: &skerryv1.ApplyRequest{Resources: resources}},
			}, err)
		}
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		return o.print(answer)
	})
}

func (o *applyOptions) print(answer *skerryv1.ApplyResponse) error {
	suffix := ""
	if o.dryRun {
		suffix = " (dry run)"
	}
	for _, result := range answer.GetResults() {
		of := inside(result.GetResource())
		if of == nil {
			continue // a kind that this version does not know
		}
		what := subject(manifest.KindOf(result.GetResource()), oneLine(of.GetName()))
		if _, err := fmt.Fprintf(o.Out, "%s %s%s\n", what, oneLine(result.GetOutcome()), suffix); err != nil {
			return err
		}
	}
	return nil
}

// readManifests parses all files before anything is sent, and tells what is
// wrong with all of them. values reads the files that a resource names.
func readManifests(in io.Reader, files []string, values func(string, *skerryv1.Resource) error) ([]*skerryv1.Resource, error) {
	var resources []*skerryv1.Resource
	var wrong []error
	from := map[string]string{}
	for _, file := range files {
		parsed, err := readManifest(in, file)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		for _, resource := range parsed {
			kind, of := manifest.KindOf(resource), inside(resource)
			key := kind + "/" + of.GetProject() + "/" + of.GetName()
			if other, twice := from[key]; twice {
				wrong = append(wrong, problem.New(problem.Invalid, file, "%s is in %s too", subject(kind, of.GetName()), other))
			}
			from[key] = file
			if err := values(file, resource); err != nil {
				wrong = append(wrong, err)
			}
		}
		resources = append(resources, parsed...)
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	if len(resources) > maxApply {
		return nil, problem.New(problem.Invalid, "", "%d resources at once, at most %d are taken", len(resources), maxApply).
			WithHint("apply them in several steps")
	}
	return resources, nil
}

func readManifest(in io.Reader, name string) ([]*skerryv1.Resource, error) {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(in, manifest.MaxBytes+1))
		if err != nil {
			return nil, problem.New(problem.Invalid, "standard input", "it cannot be read: %w", err)
		}
		return manifest.Parse("standard input", data)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fileProblem(name, err)
	}
	defer func() { _ = file.Close() }() // opened for reading only
	data, err := io.ReadAll(io.LimitReader(file, manifest.MaxBytes+1))
	if err != nil {
		return nil, fileProblem(name, err)
	}
	return manifest.Parse(name, data)
}

// fileProblem says why a file that the user named cannot be used.
func fileProblem(name string, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return problem.New(problem.Invalid, name, "it cannot be read: %w", err)
}
