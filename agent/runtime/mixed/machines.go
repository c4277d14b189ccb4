package mixed

import (
	"context"
	"errors"
	"io"
	"slices"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func onlyMachines(id string) error {
	return problem.New(problem.Invalid, id, "it is no virtual machine on this node")
}

// Pause a virtual machine.
func (d *Driver) Pause(ctx context.Context, id string) error {
	if !d.machines.Has(id) {
		return onlyMachines(id)
	}
	return d.machines.Pause(ctx, id)
}

// Resume a virtual machine.
func (d *Driver) Resume(ctx context.Context, id string) error {
	if !d.machines.Has(id) {
		return onlyMachines(id)
	}
	return d.machines.Resume(ctx, id)
}

// PingAgent asks the agent inside a virtual machine whether it is there.
func (d *Driver) PingAgent(ctx context.Context, id string) error {
	if !d.machines.Has(id) {
		return onlyMachines(id)
	}
	return d.machines.PingAgent(ctx, id)
}

// GuestAddress is how a virtual machine is reached from this node.
func (d *Driver) GuestAddress(ctx context.Context, id string, vm *skerryv1.VirtualMachine) (string, error) {
	if !d.machines.Has(id) {
		return "", onlyMachines(id)
	}
	return d.machines.GuestAddress(ctx, id, vm)
}

// Adjust the devices of a virtual machine that runs.
func (d *Driver) Adjust(ctx context.Context, spec runtime.Spec) error {
	if !d.machines.Has(spec.ID) {
		return onlyMachines(spec.ID)
	}
	return d.machines.Adjust(ctx, spec)
}

// Snapshot keeps the disks of a virtual machine as they are now.
func (d *Driver) Snapshot(ctx context.Context, id, name string, progress func(done, total int64)) error {
	if !d.machines.Has(id) {
		return onlyMachines(id)
	}
	return d.machines.Snapshot(ctx, id, name, progress)
}

// RestoreSnapshot puts the disks of a virtual machine back as they were.
func (d *Driver) RestoreSnapshot(ctx context.Context, id, name string, progress func(done, total int64)) error {
	if !d.machines.Has(id) {
		return onlyMachines(id)
	}
	return d.machines.RestoreSnapshot(ctx, id, name, progress)
}

// DeleteSnapshot deletes one of a virtual machine.
func (d *Driver) DeleteSnapshot(ctx context.Context, id, name string) error {
	if !d.machines.Has(id) {
		return onlyMachines(id)
	}
	return d.machines.DeleteSnapshot(ctx, id, name)
}

// Export opens a disk of a virtual machine.
func (d *Driver) Export(ctx context.Context, id string, what runtime.Export, progress func(done, total int64)) (io.ReadCloser, int64, error) {
	if !d.machines.Has(id) {
		return nil, 0, onlyMachines(id)
	}
	return d.machines.Export(ctx, id, what, progress)
}

// Screenshot of a virtual machine.
func (d *Driver) Screenshot(ctx context.Context, id string) ([]byte, error) {
	if !d.machines.Has(id) {
		return nil, onlyMachines(id)
	}
	return d.machines.Screenshot(ctx, id)
}

// HeldVolumes are those with data here: disks, and directories.
func (d *Driver) HeldVolumes() ([]runtime.HeldVolume, error) {
	disks, err := d.machines.HeldVolumes()
	if err != nil {
		return nil, err
	}
	directories, err := d.Containers.HeldVolumes()
	all := append(disks, directories...)
	slices.SortFunc(all, runtime.CompareVolumes)
	return all, err
}

// DeleteVolume deletes a volume's data, whatever it is.
func (d *Driver) DeleteVolume(ctx context.Context, project, name string) error {
	return errors.Join(d.machines.DeleteVolume(ctx, project, name), d.Containers.DeleteVolume(ctx, project, name))
}

// Facts are what this node can do for virtual machines; nil: nothing.
func (d *Driver) Facts() *skerryv1.VmFacts { return d.machines.Facts() }

// Conditions of what runs virtual machines.
func (d *Driver) Conditions() []*skerryv1.Condition { return d.machines.Conditions() }

// Belong tells of which site the node is.
func (d *Driver) Belong(site string) { d.machines.Belong(site) }

// StartPaused starts an instance; a virtual machine so that it does nothing yet.
func (d *Driver) StartPaused(ctx context.Context, id string) (paused bool, err error) {
	if !d.machines.Has(id) {
		return false, d.Containers.Start(ctx, id)
	}
	return d.machines.StartPaused(ctx, id)
}

// GuardTarget says what the guard kills to end an instance.
func (d *Driver) GuardTarget(id string, vm bool) string {
	if vm {
		return d.machines.GuardTarget(id, vm)
	}
	return d.Containers.GuardTarget(id, vm)
}

// Depart begins to send a virtual machine.
func (d *Driver) Depart(ctx context.Context, id string) (runtime.Departure, error) {
	if !d.machines.Has(id) {
		return nil, onlyMachines(id)
	}
	return d.machines.Depart(ctx, id)
}

// Arrive begins to take in a virtual machine.
func (d *Driver) Arrive(ctx context.Context, spec runtime.Spec, offer []byte) (runtime.Arrival, error) {
	return d.machines.Arrive(ctx, spec, offer)
}

// Settle a virtual machine that the other node does not have.
func (d *Driver) Settle(ctx context.Context, id string) error { return d.machines.Settle(ctx, id) }

// SnapshotVolume implements runtime.VolumeCopier.
func (d *Driver) SnapshotVolume(ctx context.Context, project, name, as string, progress func(done, total int64)) error {
	return d.machines.SnapshotVolume(ctx, project, name, as, progress)
}

// RestoreVolume implements runtime.VolumeCopier.
func (d *Driver) RestoreVolume(ctx context.Context, project, name, as string, progress func(done, total int64)) error {
	return d.machines.RestoreVolume(ctx, project, name, as, progress)
}

// DeleteVolumeSnapshot implements runtime.VolumeCopier.
func (d *Driver) DeleteVolumeSnapshot(ctx context.Context, project, name, as string) error {
	return d.machines.DeleteVolumeSnapshot(ctx, project, name, as)
}

// ExportVolume implements runtime.VolumeCopier.
func (d *Driver) ExportVolume(ctx context.Context, project, name, from string, progress func(done, total int64)) (io.ReadCloser, int64, error) {
	return d.machines.ExportVolume(ctx, project, name, from, progress)
}

// ImportVolume implements runtime.VolumeCopier.
func (d *Driver) ImportVolume(ctx context.Context, project, name string, v runtime.Volume, replace bool, content io.Reader) error {
	return d.machines.ImportVolume(ctx, project, name, v, replace, content)
}

// RootDisks of virtual machines, and the bytes that they take.
func (d *Driver) RootDisks() (count uint32, bytes int64) { return d.machines.RootDisks() }
