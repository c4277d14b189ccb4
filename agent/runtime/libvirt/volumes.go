package libvirt

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// volumeFile holds a volume: a raw disk, sparse.
const volumeFile = "disk.raw"

func volumeID(project, name string) string { return project + "." + name }

// projectOf an instance.
func projectOf(id string) string {
	project, _, _ := strings.Cut(id, ".")
	return project
}

func (d *Driver) volumeDir(project, name string) string {
	return filepath.Join(d.volumesDir(), volumeID(project, name))
}

// volumeDisks are the disks of a machine that are volumes. One that was never made
// is made; one whose data is gone is an error, and nothing empty takes its place.
func (d *Driver) volumeDisks(ctx context.Context, spec runtime.Spec) ([]volumeDisk, error) {
	var all []volumeDisk
	for _, disk := range spec.VM.GetDisks() {
		volume, known := spec.Volumes[disk.GetVolume()]
		if !known {
			return nil, problem.New(problem.NotFound, "Volume/"+disk.GetVolume(), "this node was not told of it")
		}
		// Whoever copies it is ended; what is recorded of the instance keeps others off.
		free, err := d.claim(ctx, volumeUse(spec.Project, disk.GetVolume()), "a machine takes it")
		if err != nil {
			return nil, err
		}
		defer free()
		user, err := d.userOf(spec.Project, disk.GetVolume())
		if err != nil {
			return nil, err
		}
		if user != "" && user != spec.ID {
			return nil, problem.New(problem.Conflict, "Volume/"+disk.GetVolume(), "%s still has it on this node", user)
		}
		file, err := d.volume(spec.Project, disk.GetVolume(), volume)
		if err != nil {
			return nil, err
		}
		all = append(all, volumeDisk{file, disk.GetName(), disk.GetVolume(), disk.GetReadOnly()})
	}
	return all, nil
}

func (d *Driver) volume(project, name string, v runtime.Volume) (string, error) {
	about := "Volume/" + name
	if runtime.CheckID(volumeID(project, name)) != nil {
		return "", problem.New(problem.Invalid, about, "it cannot be the name of a volume")
	}
	dir := d.volumeDir(project, name)
	file := filepath.Join(dir, volumeFile)
	if err := d.volumeSnapshots(project, name).Finish(d.volumeDisk(project, name)); err != nil { // of a restore that a crash broke
		return "", d.problem(about, "a restore of it cannot be brought to its end", err)
	}
	info, err := os.Stat(file)
	switch {
	case err == nil && info.Size() < v.SizeBytes: // it was let grow
		return file, d.problem(about, "it cannot grow", os.Truncate(file, v.SizeBytes))
	case err == nil:
		return file, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", problem.New(problem.Internal, about, "it cannot be read: %w", err)
	case v.Made:
		return "", problem.New(problem.Conflict, about, "its data is not on this node any more: %s is missing", file).
			WithHint("bring the file back; or delete the volume with its data, and begin anew: skerry delete volume %s --with-data", name)
	}
	if err := openToAll(dir); err != nil {
		return "", d.problem(about, "it cannot be made", err)
	}
	return file, d.problem(about, "it cannot be made", makeSparse(file, v.SizeBytes))
}

// makeSparse makes an empty disk: wholly there, or not at all.
func makeSparse(file string, size int64) error {
	fresh := file + ".new"
	f, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}

// HeldVolumes are those with data here. What is still coming is not.
func (d *Driver) HeldVolumes() ([]runtime.HeldVolume, error) {
	entries, err := os.ReadDir(d.volumesDir())
	if err != nil {
		return nil, problem.New(problem.Internal, d.volumesDir(), "the volumes cannot be listed: %w", err)
	}
	coming, err := d.comingVolumes()
	if err != nil {
		return nil, err
	}
	var all []runtime.HeldVolume
	for _, entry := range entries {
		project, name, ok := strings.Cut(entry.Name(), ".")
		var stat unix.Stat_t
		if !ok || coming[entry.Name()] || unix.Stat(filepath.Join(d.volumesDir(), entry.Name(), volumeFile), &stat) != nil {
			continue
		}
		const block = 512 // as st_blocks counts
		kept, err := d.volumeSnapshots(project, name).List()
		if err != nil {
			return nil, problem.New(problem.Internal, "Volume/"+name, "its snapshots cannot be listed: %w", err)
		}
		all = append(all, runtime.HeldVolume{Project: project, Name: name, Used: stat.Blocks * block, Snapshots: saved(kept)})
	}
	slices.SortFunc(all, runtime.CompareVolumes)
	return all, nil
}

// comingVolumes are those of machines that have not come yet.
func (d *Driver) comingVolumes() (map[string]bool, error) {
	records, err := d.records()
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for id, r := range records {
		for _, name := range r.volumesComing() {
			all[volumeID(projectOf(id), name)] = true
		}
	}
	return all, nil
}

// volumesComing with a machine that has not come yet.
func (r *record) volumesComing() []string {
	if r == nil || !r.Arriving {
		return nil
	}
	var all []string
	for _, disk := range r.Disks {
		if disk.Volume != "" {
			all = append(all, disk.Volume)
		}
	}
	return all
}

// DeleteVolume deletes a volume's data.
func (d *Driver) DeleteVolume(ctx context.Context, project, name string) error {
	about := "Volume/" + name
	if runtime.CheckID(volumeID(project, name)) != nil {
		return problem.New(problem.Invalid, about, "it cannot be the name of a volume")
	}
	_, free, err := d.idle(ctx, project, name, "it is being deleted", false)
	if err != nil {
		return err
	}
	defer free()
	return d.problem(about, "it cannot be deleted", os.RemoveAll(d.volumeDir(project, name)))
}
