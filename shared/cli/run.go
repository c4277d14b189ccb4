package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

func runCommand(a *app) *cobra.Command {
	o := &reading{app: a}
	cmd := &cobra.Command{
		Use:     "run WORKLOAD",
		GroupID: GroupChange,
		Short:   "Start a run of a scheduled job now",
		Long: `Run starts a run of a workload with a schedule now, beside those that are due. While
another run is under way schedule.concurrency decides: forbid refuses, replace ends
the other one, allow runs both. When the next run is due does not change.`,
		Example: `  skerry run backup
  skerry run backup -p shop && skerry describe workload backup -p shop`,
		Args:              Args(1, 1),
		ValidArgsFunction: o.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usage(cmd, "name the workload: skerry get workloads shows them")
			}
			id, err := a.requestID()
			if err != nil {
				return err
			}
			return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				answer, err := call(ctx, a, c.Runs().StartRun, &skerryv1.StartRunRequest{Name: args[0], Project: o.project, RequestId: id})
				if err != nil {
					return err
				}
				in := ""
				if o.project != "" {
					in = " -p " + oneLine(o.project)
				}
				_, err = fmt.Fprintf(a.Out, "%s: run %d has begun; skerry describe workload %s%s shows how far it is\n",
					subject("Workload", oneLine(args[0])), answer.GetRun(), oneLine(args[0]), in)
				return err
			})
		},
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	return cmd
}
