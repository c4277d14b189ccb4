package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

type planOptions struct {
	reading
	files []string
}

func planCommand(a *app) *cobra.Command {
	o := &planOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "plan -f FILE",
		GroupID: GroupSee,
		Short:   "Show what an apply would change, before it does",
		Long: `Plan tells what skerry apply would make of the same manifests: which fields of
which resources would change, which placements would move, where new ones would
land, and what would find no place and why. What apply would refuse, plan refuses.
Nothing is changed, and no secret is shown.`,
		Example: `  skerry plan -f web.yaml
  generate | skerry plan -f - -o json`,
		Args: Args(0, 0),
		RunE: o.run,
	}
	addFiles(cmd, &o.files)
	o.output.add(cmd, false)
	return cmd
}

func (o *planOptions) run(cmd *cobra.Command, _ []string) error {
	if len(o.files) == 0 {
		return usage(cmd, "there is no manifest")
	}
	resources, err := readManifests(o.In, o.files, o.readFiles)
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Plans().Plan, &skerryv1.PlanRequest{Resources: resources})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		return o.print(answer)
	})
}

func (o *planOptions) print(answer *skerryv1.PlanResponse) error {
	for _, r := range answer.GetResources() {
		line := subject(r.GetKind(), oneLine(r.GetName())) + " would be " + oneLine(r.GetOutcome())
		if r.GetReplaces() {
			line += "; its placements would be replaced"
		}
		if r.GetOutcome() == "unchanged" {
			line = subject(r.GetKind(), oneLine(r.GetName())) + " is as it should be"
		}
		if _, err := fmt.Fprintln(o.Out, line); err != nil {
			return err
		}
		for _, change := range r.GetChanges() {
			if _, err := fmt.Fprintf(o.Out, "  %s\n", changed(change)); err != nil {
				return err
			}
		}
	}
	hit, waiting := parted(answer.GetStranded())
	err := errors.Join(
		section(o.Out, "Would move", moveTable(answer.GetMoves())),
		section(o.Out, "Would not run", nodesOfStranded(hit)),
		section(o.Out, waitsAnyway, strandedTable(waiting)))
	if !answer.GetSettled() {
		_, more := fmt.Fprint(o.Out, "\nIt did not come to rest: what is shown is how far it got.\n")
		err = errors.Join(err, more)
	}
	return err
}

// changed is one field: `container.image: site.local/web:1 -> site.local/web:2`.
func changed(c *skerryv1.FieldChange) string {
	return oneLine(fmt.Sprintf("%s: %s -> %s", c.GetField(), orDash(c.GetFrom()), orDash(c.GetTo())))
}
