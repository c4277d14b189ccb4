package libvirt

import (
	"context"
	"path/filepath"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/snapshot"
	"skerry.dev/shared/problem"
)

// diskFile is a disk of an instance as it was prepared, cloud-init's apart.
type diskFile struct {
	snapshot.Disk
	// Target is how libvirt calls it: `vda`.
	Target string `json:"target"`
	// Volume that it is of; empty: the root disk.
	Volume string `json:"volume,omitempty"`
}

func plainDisks(disks []diskFile) []snapshot.Disk {
	var all []snapshot.Disk
	for _, disk := range disks {
		all = append(all, disk.Disk)
	}
	return all
}

// snapshots of an instance.
func (d *Driver) snapshots(id string) snapshot.Keeper {
	return snapshot.Keeper{Dir: filepath.Join(d.diskDir(id), "snapshots"), FS: d.Env.FS}
}

// present is an instance whose disks are asked for.
func (d *Driver) present(ctx context.Context, id string) (*runtime.Instance, *record, error) {
	if err := runtime.CheckID(id); err != nil {
		return nil, nil, err
	}
	instance, err := d.one(ctx, id)
	if err != nil {
		return nil, nil, d.problem(id, "it cannot be looked at", err)
	}
	r, err := d.read(id)
	switch {
	case err != nil:
		return nil, nil, d.problem(id, "its record cannot be read", err)
	case instance == nil || r == nil || instance.State == runtime.Broken || len(r.Disks) == 0:
		return nil, nil, problem.New(problem.NotFound, id, "it has no disks on this node yet, or is being made anew").
			WithHint("skerry why NAME tells what it waits for; then try again")
	}
	return instance, r, nil
}

// Snapshot keeps the disks of an instance as they are now.
func (d *Driver) Snapshot(ctx context.Context, id, name string, progress func(done, total int64)) error {
	instance, r, err := d.present(ctx, id)
	if err != nil {
		return err
	}
	ctx, free, err := d.occupy(ctx, id, "a snapshot of it is made", true)
	if err != nil {
		return err
	}
	defer free()
	if err := d.roomFor(id, plainDisks(r.Disks)); err != nil {
		return err
	}
	err = d.snapshots(id).Create(name, func(dir string) (snapshot.Snapshot, error) {
		made := snapshot.Snapshot{Created: d.Env.Clock.Now().UTC()}
		var err error
		made.Disks, made.Quiet, err = d.copyDisks(ctx, instance, r.Disks, dir, progress)
		return made, err
	})
	return d.problem(id, "no snapshot was made", err)
}

// copyDisks as they are at one moment.
func (d *Driver) copyDisks(ctx context.Context, instance *runtime.Instance, disks []diskFile, dir string, progress func(done, total int64)) ([]snapshot.Disk, bool, error) {
	if instance.State == runtime.Running {
		if err := openToAll(dir); err != nil { // QEMU's user writes there
			return nil, false, err
		}
		return d.backup(ctx, instance.ID, disks, dir, progress)
	}
	copies, err := snapshot.CopyDisks(ctx, plainDisks(disks), dir, progress)
	return copies, true, causeOf(ctx, err)
}

// roomFor copies of disks must be there: a disk that is full stops guests.
func (d *Driver) roomFor(about string, disks []snapshot.Disk) error {
	var need int64
	for _, disk := range disks {
		need += snapshot.Used(disk.File)
	}
	return d.roomForBytes(about, need)
}

func (d *Driver) roomForBytes(about string, need int64) error {
	room, err := free(d.Dir)
	if err != nil {
		return problem.New(problem.Internal, d.Dir, "how much room there is cannot be found out: %w", err)
	}
	if room < need+roomFloor {
		return problem.New(problem.Exhausted, about, "a copy of its disks takes about %d MiB, and %d MiB are free below %s", need>>20, room>>20, d.Dir).
			WithHint("make room, or delete a snapshot")
	}
	return nil
}

// RestoreSnapshot puts the disks back as they were; the instance must be off.
func (d *Driver) RestoreSnapshot(ctx context.Context, id, name string, progress func(done, total int64)) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	ctx, free, err := d.occupy(ctx, id, "a snapshot of it is restored", false)
	if err != nil {
		return err
	}
	defer free()
	instance, r, err := d.present(ctx, id)
	if err != nil {
		return err
	}
	if instance.State != runtime.Prepared && instance.State != runtime.Exited {
		return problem.New(problem.Conflict, id, "it runs").WithHint("skerry vm stop NAME, restore the snapshot, skerry vm start NAME")
	}
	if err := d.roomFor(id, plainDisks(r.Disks)); err != nil {
		return err
	}
	return d.problem(id, "the snapshot was not restored", d.snapshots(id).Restore(ctx, name, plainDisks(r.Disks), progress))
}

// DeleteSnapshot deletes one; an error of kind NotFound when there is none.
func (d *Driver) DeleteSnapshot(ctx context.Context, id, name string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	_, free, err := d.occupy(ctx, id, "a snapshot of it is deleted", false)
	if err != nil {
		return err
	}
	defer free()
	if _, err := d.snapshots(id).Get(name); err != nil {
		return d.problem(id, "the snapshot was not deleted", err)
	}
	return d.problem(id, "the snapshot was not deleted", d.snapshots(id).Delete(name))
}

// savedOf an instance, for people.
func (d *Driver) savedOf(id string) []runtime.Snapshot {
	all, err := d.snapshots(id).List()
	if err != nil {
		d.Logger.Warn("the snapshots of an instance cannot be listed", "instance", id, "error", err)
	}
	return saved(all)
}

func saved(all []snapshot.Snapshot) []runtime.Snapshot {
	var told []runtime.Snapshot
	for _, s := range all {
		told = append(told, runtime.Snapshot{Name: s.Name, Created: s.Created, Used: s.Used, Quiet: s.Quiet})
	}
	return told
}
