package libvirt

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/agent/runtime/snapshot"
	"skerry.dev/shared/problem"
)

// volumeUse names the use of a volume among those of instances.
func volumeUse(project, name string) string { return "volume/" + volumeID(project, name) }

func (d *Driver) volumeSnapshots(project, name string) snapshot.Keeper {
	return snapshot.Keeper{Dir: filepath.Join(d.volumeDir(project, name), "snapshots"), FS: d.Env.FS}
}

func (d *Driver) volumeDisk(project, name string) []snapshot.Disk {
	return []snapshot.Disk{{Name: "data", File: filepath.Join(d.volumeDir(project, name), volumeFile), Format: diskimage.Raw}}
}

// userOf a volume is an instance that has it as a disk; empty: none.
func (d *Driver) userOf(project, name string) (string, error) {
	all, err := d.records()
	if err != nil {
		return "", err
	}
	for id, r := range all {
		if projectOf(id) == project && slices.ContainsFunc(r.Disks, func(d diskFile) bool { return d.Volume == name }) {
			return id, nil
		}
	}
	return "", nil
}

// idle occupies a volume that nothing uses.
func (d *Driver) idle(ctx context.Context, project, name, what string, yields bool) (_ context.Context, free func(), err error) {
	about := "Volume/" + name
	if runtime.CheckID(volumeID(project, name)) != nil {
		return nil, nil, problem.New(problem.Invalid, about, "it cannot be the name of a volume")
	}
	ctx, free, err = d.occupy(ctx, volumeUse(project, name), what, yields)
	if err != nil {
		return nil, nil, err
	}
	user, err := d.userOf(project, name)
	if err == nil && user != "" {
		err = problem.New(problem.Conflict, about, "%s uses it", user).
			WithHint("the commands of skerry vm copy the disks of a machine; or set replicas of its workload to 0 first")
	}
	if err != nil {
		free()
		return nil, nil, d.problem(about, "it cannot be looked at", err)
	}
	return ctx, free, nil
}

// held is idle for what needs the volume's data.
func (d *Driver) held(ctx context.Context, project, name, what string, yields bool) (_ context.Context, free func(), err error) {
	ctx, free, err = d.idle(ctx, project, name, what, yields)
	if err == nil && !exists(d.volumeDisk(project, name)[0].File) {
		free()
		return nil, nil, problem.New(problem.NotFound, "Volume/"+name, "there is no data of it on this node").WithHint("it is made at its first use, or by skerry volume import")
	}
	return ctx, free, err
}

// SnapshotVolume keeps a volume that nothing uses as it is now.
func (d *Driver) SnapshotVolume(ctx context.Context, project, name, as string, progress func(done, total int64)) error {
	about := "Volume/" + name
	ctx, free, err := d.held(ctx, project, name, "a snapshot of it is made", true)
	if err != nil {
		return err
	}
	defer free()
	if err := d.roomFor(about, d.volumeDisk(project, name)); err != nil {
		return err
	}
	err = d.volumeSnapshots(project, name).Create(as, func(dir string) (snapshot.Snapshot, error) {
		copies, err := snapshot.CopyDisks(ctx, d.volumeDisk(project, name), dir, progress)
		return snapshot.Snapshot{Created: d.Env.Clock.Now().UTC(), Quiet: true, Disks: copies}, causeOf(ctx, err)
	})
	return d.problem(about, "no snapshot was made", err)
}

// causeOf an error, when somebody ended what was under way.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// RestoreVolume puts a volume that nothing uses back as it was.
func (d *Driver) RestoreVolume(ctx context.Context, project, name, as string, progress func(done, total int64)) error {
	about := "Volume/" + name
	ctx, free, err := d.held(ctx, project, name, "a snapshot of it is restored", false)
	if err != nil {
		return err
	}
	defer free()
	if err := d.roomFor(about, d.volumeDisk(project, name)); err != nil {
		return err
	}
	return d.problem(about, "the snapshot was not restored", d.volumeSnapshots(project, name).Restore(ctx, as, d.volumeDisk(project, name), progress))
}

// DeleteVolumeSnapshot deletes one; an error of kind NotFound when there is none.
func (d *Driver) DeleteVolumeSnapshot(_ context.Context, project, name, as string) error {
	if runtime.CheckID(volumeID(project, name)) != nil {
		return problem.New(problem.Invalid, "Volume/"+name, "it cannot be the name of a volume")
	}
	keeper := d.volumeSnapshots(project, name)
	_, err := keeper.Get(as)
	if err == nil {
		err = keeper.Delete(as)
	}
	return d.problem("Volume/"+name, "the snapshot was not deleted", err)
}

// ExportVolume opens a volume that nothing uses, or a snapshot of it, as one qcow2
// file.
func (d *Driver) ExportVolume(ctx context.Context, project, name, from string, _ func(done, total int64)) (io.ReadCloser, int64, error) {
	about := "Volume/" + name
	ctx, free, err := d.held(ctx, project, name, "it is copied", true)
	if err != nil {
		return nil, 0, err
	}
	defer free()
	disk := d.volumeDisk(project, name)[0]
	if from != "" {
		s, err := d.volumeSnapshots(project, name).Get(from)
		if err != nil {
			return nil, 0, d.problem(about, "it was not exported", err)
		}
		disk = s.Disks[0]
	}
	if err := d.roomFor(about, []snapshot.Disk{disk}); err != nil {
		return nil, 0, err
	}
	dir, err := os.MkdirTemp(d.exportsDir(), "export-")
	if err != nil {
		return nil, 0, d.problem(about, "it was not exported", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // or emptied at the next start
	to := filepath.Join(dir, "disk")
	if err := convert(ctx, disk, to); err != nil {
		return nil, 0, d.problem(about, "it was not exported", err)
	}
	file, size, err := openWhole(to)
	return file, size, d.problem(about, "it was not exported", err)
}

// ImportVolume fills a volume that nothing uses with an image of a disk.
func (d *Driver) ImportVolume(ctx context.Context, project, name string, v runtime.Volume, replace bool, content io.Reader) error {
	about := "Volume/" + name
	ctx, free, err := d.idle(ctx, project, name, "it is being filled", false)
	if err != nil {
		return err
	}
	defer free()
	file := d.volumeDisk(project, name)[0].File
	if exists(file) && !replace {
		return problem.New(problem.Conflict, about, "it holds data already").WithHint("--replace deletes that; skerry volume snapshot create %s NAME keeps it", name)
	}
	fresh, err := d.disks.receive(ctx, content, diskimage.MaxBytes)
	if err != nil {
		return err
	}
	defer fresh.discard()
	format, size, err := checkDisk(ctx, fresh.path)
	if err != nil {
		return err
	}
	if size > v.SizeBytes {
		return problem.New(problem.Invalid, about, "the disk has %d bytes, the volume %d", size, v.SizeBytes).WithHint("let the volume grow first: skerry apply with a larger size")
	}
	return d.problem(about, "it was not filled", d.fill(ctx, file, snapshot.Disk{File: fresh.path, Format: format}, v.SizeBytes))
}

// fill a volume: with all of the disk, or not at all.
func (d *Driver) fill(ctx context.Context, file string, from snapshot.Disk, size int64) error {
	if err := openToAll(filepath.Dir(file)); err != nil {
		return err
	}
	next := file + ".new"
	_, err := qemuImgLong(ctx, "convert", "-f", from.Format, "-O", diskimage.Raw, from.File, next)
	if err == nil {
		err = errors.Join(os.Truncate(next, size), syncVolume(next))
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	return d.Env.FS.Rename(next, file)
}

func syncVolume(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
