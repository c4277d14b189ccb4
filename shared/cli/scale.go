package cli

import (
	"context"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

type scaleOptions struct {
	applyOptions
	reading  reading
	replicas uint32
}

func scaleCommand(a *app) *cobra.Command {
	o := &scaleOptions{applyOptions: applyOptions{app: a}, reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "scale WORKLOAD --replicas N",
		GroupID: GroupChange,
		Short:   "Change how many replicas a workload has",
		Long: `Scale changes the replicas of a workload and nothing else. It is refused when
somebody else changes the workload at the same moment.`,
		Example: `  skerry scale web --replicas 5
  skerry scale web -p shop --replicas 0 --when-connected`,
		Args: Args(1, 1),
		RunE: o.run,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return o.reading.namesOf(cmd, kinds[0])
		},
	}
	o.reading.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	cmd.Flags().Uint32Var(&o.replicas, "replicas", 0, "how many there are to be, `N`")
	o.wait.add(cmd)
	return cmd
}

func (o *scaleOptions) run(cmd *cobra.Command, args []string) error {
	if !cmd.Flags().Changed("replicas") {
		return usage(cmd, "--replicas is missing")
	}
	var found *skerryv1.Resource
	err := o.bounded(cmd, func(ctx context.Context, c *client.Client) (err error) {
		found, err = o.reading.get(ctx, c, kinds[0], args[0])
		return err
	})
	if err != nil {
		return err
	}
	w := found.GetWorkload()
	if form := manifest.Form(w); form != "replicas" {
		return problem.New(problem.Invalid, "Workload/"+w.GetName(), "it has no replicas: its form is %s", form)
	}
	w.Replicas = &o.replicas
	w.Status = nil
	return o.send(cmd, []*skerryv1.Resource{found})
}
