package cli

import (
	"context"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

type vmAttach struct {
	reading
	volume, disk, size, bridge, mac string
	readOnly, nat                   bool
}

func vmAttachCommand(a *app) *cobra.Command {
	o := &vmAttach{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "attach WORKLOAD",
		Short: "Give a virtual machine a disk or a network card",
		Long: `Attach adds a volume or a network card to the manifest of a workload. Machines that run
get it while they run; it is there after a restart as well. The guest finds a disk
as /dev/disk/by-id/virtio-NAME.`,
		Example: "  skerry vm attach scada --volume scada-logs --size 10Gi\n  skerry vm attach scada --bridge br-plant",
		Args:    Args(1, 1), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error { return o.changeVM(cmd, args[0], o.attach) },
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	f := cmd.Flags()
	f.StringVar(&o.volume, "volume", "", "`NAME` of the volume to attach as a disk")
	f.StringVar(&o.disk, "disk", "", "`NAME` of the disk in the guest (default that of the volume)")
	f.StringVar(&o.size, "size", "", "size such as `10Gi`, when the volume is to be made")
	f.BoolVar(&o.readOnly, "read-only", false, "the guest may not write to the disk")
	f.StringVar(&o.bridge, "bridge", "", "`NAME` of the bridge to connect a network card to")
	f.BoolVar(&o.nat, "nat", false, "connect a network card to the node's own network: out only")
	f.StringVar(&o.mac, "mac", "", "hardware `ADDRESS` of the card (default made from the placement's name)")
	return cmd
}

func (o *vmAttach) attach(vm *skerryv1.VirtualMachine) error {
	disk, card := o.volume != "", o.bridge != "" || o.nat
	if disk == card {
		return problem.New(problem.Invalid, "", "give a disk or a network card").WithHint("--volume, --bridge or --nat")
	}
	if disk {
		name := o.disk
		if name == "" {
			name = o.volume
		}
		vm.Disks = append(vm.Disks, &skerryv1.Disk{Name: name, Volume: o.volume, Size: o.size, ReadOnly: o.readOnly})
		return nil
	}
	vm.Networks = append(vm.Networks, &skerryv1.Nic{Bridge: o.bridge, Nat: o.nat, Mac: o.mac})
	return nil
}

type vmDetach struct {
	reading
	disk    string
	network uint32
}

func vmDetachCommand(a *app) *cobra.Command {
	o := &vmDetach{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "detach WORKLOAD",
		Short: "Take a disk or a network card from a virtual machine",
		Long: `Detach removes a volume or a network card from the manifest of a workload. A machine
that runs is asked to give it up: unmount a disk in the guest first. The volume
stays, with its data. A card before others takes a restart: addresses that are made
by themselves hang on their order.`,
		Example: "  skerry vm detach scada --disk scada-logs\n  skerry vm detach scada --network 2",
		Args:    Args(1, 1), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error { return o.changeVM(cmd, args[0], o.detach) },
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	cmd.Flags().StringVar(&o.disk, "disk", "", "`NAME` of the disk")
	cmd.Flags().Uint32Var(&o.network, "network", 0, "`NUMBER` of the network card, from 1")
	return cmd
}

func (o *vmDetach) detach(vm *skerryv1.VirtualMachine) error {
	if (o.disk != "") == (o.network != 0) {
		return problem.New(problem.Invalid, "", "give a disk or a network card").WithHint("--disk or --network")
	}
	if o.disk != "" {
		at := slices.IndexFunc(vm.GetDisks(), func(d *skerryv1.Disk) bool { return d.GetName() == o.disk })
		if at < 0 {
			return problem.New(problem.NotFound, "", "it has no disk %s", o.disk).WithHint("skerry describe workload NAME shows its disks")
		}
		vm.Disks = slices.Delete(vm.Disks, at, at+1)
		return nil
	}
	if int(o.network) > len(vm.GetNetworks()) {
		return problem.New(problem.NotFound, "", "it has %s", plural(len(vm.GetNetworks()), "network card")).WithHint("--network %s is too many", strconv.Itoa(int(o.network)))
	}
	vm.Networks = slices.Delete(vm.Networks, int(o.network)-1, int(o.network))
	return nil
}

// changeVM applies a workload with its machine changed.
func (r *reading) changeVM(cmd *cobra.Command, name string, change func(*skerryv1.VirtualMachine) error) error {
	id, err := r.requestID()
	if err != nil {
		return err
	}
	return r.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		resource, err := r.get(ctx, c, kinds[0], name)
		if err != nil {
			return err
		}
		w := resource.GetWorkload()
		if w.GetVm() == nil {
			return problem.New(problem.Invalid, "Workload/"+name, "it runs containers, not virtual machines")
		}
		if err := change(w.GetVm()); err != nil {
			return err
		}
		return r.reapply(ctx, c, resource, id)
	})
}
