package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

func siteReportCommand(a *app) *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "report",
		Short: "How the site differs from its backup, after it was restored or recovered",
		Long: `Report tells of the last recovery of the site: with what it began anew, which nodes
were not heard since, and what the others ran that differs from it:

  adopted  it ran, and was not known: it is part of the site now
  newer    the workload is as the node ran it, because that was newer
  gone     it was known to run there, and does not: it is made anew where it is missing
  ended    it ran, and cannot be adopted; the message says why`,
		Example: "  skerry site report",
		Args:    Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				answer, err := call(ctx, a, c.Recovery().Report, &skerryv1.ReportRequest{})
				if err != nil {
					return err
				}
				if output.isData() {
					return output.write(a.Out, answer)
				}
				return a.printReport(answer)
			})
		},
	}
	output.add(cmd, false)
	return cmd
}

func (a *app) printReport(answer *skerryv1.ReportResponse) error {
	r := answer.GetRecovery()
	if r == nil {
		_, err := fmt.Fprintln(a.Out, "the site was never restored or recovered")
		return err
	}
	f := &fields{}
	f.add("Site epoch", fmt.Sprintf("%d, begun %s on %s (%s)", r.GetSiteEpoch(), utc(r.GetTime().AsTime()), r.GetNode(), r.GetHow()))
	f.add("Record", r.GetId())
	f.add("State", fmt.Sprintf("of %s, index %d", utc(r.GetStateTime().AsTime()), r.GetIndex()))
	f.add("Not heard since", orDash(joined(answer.GetAwaited())))
	if err := f.write(a.Out); err != nil {
		return err
	}
	t := newTable("NODE", "WHAT", "RESOURCE", "MESSAGE")
	for _, d := range r.GetDifferences() {
		t.row(d.GetNode(), d.GetWhat(), d.GetResource(), d.GetMessage())
	}
	if err := section(a.Out, "Differences", t); err != nil {
		return err
	}
	text := ""
	switch {
	case r.GetMore() > 0:
		text = fmt.Sprintf("and %d more", r.GetMore())
	case len(r.GetDifferences()) == 0:
		text = "nothing differed on the nodes that were heard"
	default:
		return nil
	}
	_, err := fmt.Fprintln(a.Out, text)
	return err
}
