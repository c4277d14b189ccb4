package cli

import (
	"context"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

type vmResize struct {
	reading
	cpu    uint32
	memory string
}

func vmResizeCommand(a *app) *cobra.Command {
	o := &vmResize{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "resize WORKLOAD",
		Short: "Give virtual machines more or less",
		Long: `Resize changes CPU and memory of the virtual machines of a workload, as a change of
its manifest does: they are shut down in order and started again where they are,
with their disks. It is refused when their node has no room for it.`,
		Example: "  skerry vm resize scada --cpu 4 --memory 8Gi", Args: Args(1, 1), ValidArgsFunction: o.completePlacement,
		RunE: o.run,
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	cmd.Flags().Uint32Var(&o.cpu, "cpu", 0, "virtual CPUs (default as it is)")
	cmd.Flags().StringVar(&o.memory, "memory", "", "memory of the guest, such as `8Gi` (default as it is)")
	return cmd
}

func (o *vmResize) run(cmd *cobra.Command, args []string) error {
	if o.cpu == 0 && o.memory == "" {
		return problem.New(problem.Invalid, "", "there is nothing to change").WithHint("give --cpu, --memory or both")
	}
	return o.changeVM(cmd, args[0], func(vm *skerryv1.VirtualMachine) error {
		if o.cpu != 0 {
			vm.Cpu = o.cpu
		}
		if o.memory != "" {
			vm.Memory = o.memory
		}
		return nil
	})
}

// reapply a workload that was read and changed. Its version makes sure that nothing
// else has changed meanwhile.
func (r *reading) reapply(ctx context.Context, c *client.Client, resource *skerryv1.Resource, id string) error {
	manifest.Fill(resource)
	if err := manifest.Validate(resource); err != nil {
		return err
	}
	answer, err := call(ctx, r.app, c.Resources().Apply, &skerryv1.ApplyRequest{Resources: []*skerryv1.Resource{resource}, RequestId: id})
	if err != nil {
		return err
	}
	return (&applyOptions{app: r.app}).print(answer)
}
