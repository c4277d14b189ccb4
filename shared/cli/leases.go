package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

func leasesCommand(a *app) *cobra.Command {
	o := &reading{app: a}
	cmd := &cobra.Command{
		Use:     "leases",
		GroupID: GroupSee,
		Short:   "Show who may run what is exclusive, and until when",
		Long: `Leases lists the exclusive placements (partition.mode: exclusive) that may be
running. Each runs on its node under a lease, which the node renews; when the node is
lost, another placement starts as soon as the lease has ended. Only the coordinator
knows the leases.`,
		Example: `  skerry leases
  skerry leases -p shop -o json`,
		Args: Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.leases(cmd) },
	}
	o.addProject(cmd, "only this project, by `NAME`")
	o.output.add(cmd, false)
	return cmd
}

func (o *reading) leases(cmd *cobra.Command) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Leases().Leases, &skerryv1.LeasesRequest{Project: o.project})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		if len(answer.GetLeases()) == 0 {
			_, err := fmt.Fprintln(o.Err, "no leases: nothing exclusive may be running")
			return err
		}
		t := newTable("PLACEMENT", "PROJECT", "NODE", "LEASE", "STATE")
		for _, l := range answer.GetLeases() {
			t.row(l.GetPlacement(), l.GetProject(), l.GetNode(), l.GetLease().AsDuration().String(), l.GetSummary())
		}
		return t.write(o.Out, "")
	})
}

// lease of a placement, for people; empty for what has none. That there is no
// coordinator who knows is no reason to tell nothing else.
func (o *reading) lease(ctx context.Context, c *client.Client, p *skerryv1.Placement) string {
	length := p.GetSpec().GetPartition().GetLease()
	if length == "" || p.GetNode() == "" {
		return ""
	}
	if p.GetLapsed() != nil {
		return fmt.Sprintf("%s, ended %s ago: it runs nowhere any more", length, o.since(p.GetLapsed().AsTime()))
	}
	answer, err := call(ctx, o.app, c.Leases().Leases, &skerryv1.LeasesRequest{Project: p.GetProject()})
	if err != nil {
		return length + ", and no coordinator in reach knows of it"
	}
	for _, l := range answer.GetLeases() {
		if l.GetPlacement() == p.GetName() {
			return length + ", " + l.GetSummary()
		}
	}
	return length + ", not held"
}
