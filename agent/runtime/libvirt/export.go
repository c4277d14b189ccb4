package libvirt

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/agent/runtime/snapshot"
	"skerry.dev/shared/problem"
)

// convertTime bounds what qemu-img takes for one disk.
const convertTime = 12 * time.Hour

// exportsDir holds what is on its way to an operator, and is emptied at each start.
func (d *Driver) exportsDir() string { return filepath.Join(d.Dir, "exports") }

// Export opens a disk of an instance as it is now, or as a snapshot has it, as one
// qcow2 file that names no other.
func (d *Driver) Export(ctx context.Context, id string, what runtime.Export, progress func(done, total int64)) (io.ReadCloser, int64, error) {
	instance, r, err := d.present(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if what.Disk == "" {
		what.Disk = rootName
	}
	at := slices.IndexFunc(r.Disks, func(disk diskFile) bool { return disk.Name == what.Disk })
	if at < 0 {
		return nil, 0, problem.New(problem.NotFound, id, "it has no disk %s", what.Disk).WithHint("skerry describe workload shows its disks; the first is root")
	}
	ctx, free, err := d.occupy(ctx, id, "a disk of it is copied", true)
	if err != nil {
		return nil, 0, err
	}
	defer free()
	file, size, err := d.export(ctx, instance, r.Disks[at], what.Snapshot, progress)
	return file, size, d.problem(id, "it was not exported", err)
}

// export into a file without a name: whatever becomes of the agent, it is gone with
// it.
func (d *Driver) export(ctx context.Context, instance *runtime.Instance, disk diskFile, name string, progress func(done, total int64)) (io.ReadCloser, int64, error) {
	dir, err := os.MkdirTemp(d.exportsDir(), "export-")
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // or emptied at the next start
	from := disk.Disk
	if name != "" {
		s, err := d.snapshots(instance.ID).Get(name)
		if err != nil {
			return nil, 0, err
		}
		at := slices.IndexFunc(s.Disks, func(d snapshot.Disk) bool { return d.Name == disk.Name })
		if at < 0 {
			return nil, 0, problem.New(problem.NotFound, "Snapshot/"+name, "it has no disk %s", disk.Name)
		}
		from = s.Disks[at]
	}
	if err := d.roomFor(instance.ID, []snapshot.Disk{from}); err != nil {
		return nil, 0, err
	}
	if name == "" && instance.State == runtime.Running {
		if err := openToAll(dir); err != nil { // QEMU's user writes there
			return nil, 0, err
		}
		disk.Format = diskimage.QCOW2
		if _, _, err := d.backup(ctx, instance.ID, []diskFile{disk}, dir, progress); err != nil {
			return nil, 0, err
		}
		return openWhole(filepath.Join(dir, disk.Name+"."+diskimage.QCOW2))
	}
	to := filepath.Join(dir, disk.Name)
	if err := convert(ctx, from, to); err != nil {
		return nil, 0, err
	}
	return openWhole(to)
}

// convert a disk to one qcow2 file.
func convert(ctx context.Context, from snapshot.Disk, to string) error {
	_, err := qemuImgLong(ctx, "convert", "-f", from.Format, "-O", diskimage.QCOW2, from.File, to)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

func openWhole(file string) (io.ReadCloser, int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}
