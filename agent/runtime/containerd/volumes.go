package containerd

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// volumesOf a spec, by their names.
func volumesOf(spec runtime.Spec) []string {
	var names []string
	for _, m := range spec.Container.GetMounts() {
		if m.GetVolume() != "" {
			names = append(names, m.GetVolume())
		}
	}
	return names
}

// take keeps others off volumes until free is called, unless somebody has one of
// them. What is prepared meanwhile has them by its record.
func (d *Driver) take(ctx context.Context, id, project string, names ...string) (free func(), err error) {
	d.volumesMu.Lock()
	defer d.volumesMu.Unlock()
	for _, name := range names {
		user, err := d.userOfVolume(ctx, project, name)
		if err == nil && user != "" && user != id {
			err = problem.New(problem.Conflict, "Volume/"+name, "%s uses it", user).WithHint("it is used by one at a time; wait until that is gone")
		}
		if err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		d.volumesTaken[project+"."+name] = id
	}
	return func() {
		d.volumesMu.Lock()
		defer d.volumesMu.Unlock()
		for _, name := range names {
			delete(d.volumesTaken, project+"."+name)
		}
	}, nil
}

// userOfVolume is an instance that has a volume, also when it has ended; empty:
// none. It needs volumesMu.
func (d *Driver) userOfVolume(ctx context.Context, project, name string) (string, error) {
	if user := d.volumesTaken[project+"."+name]; user != "" {
		return user, nil
	}
	records, err := d.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q", labelVolumes))
	if err != nil {
		return "", err
	}
	for _, record := range records {
		if record.Labels[labelProject] == project && slices.Contains(strings.Split(record.Labels[labelVolumes], ","), name) {
			return record.Labels[labelInstance], nil
		}
	}
	return "", nil
}

// makeVolumes that were never made; they belong to the user that the container runs
// as.
func (d *Driver) makeVolumes(spec runtime.Spec, user specs.User) error {
	for _, name := range volumesOf(spec) {
		volume, known := spec.Volumes[name]
		if !known {
			return problem.New(problem.NotFound, "Volume/"+name, "this node was not told of it")
		}
		if volume.Path != "" {
			if info, err := os.Stat(volume.Path); err != nil || !info.IsDir() {
				return problem.New(problem.Conflict, "Volume/"+name, "%s is not a directory on this node", volume.Path).WithHint("make it, or mount there what it is to show")
			}
			continue
		}
		if err := d.volumes.Ensure(spec.Project, name, volume, int(user.UID), int(user.GID)); err != nil {
			return err
		}
	}
	return nil
}

// HeldVolumes are those with data here.
func (d *Driver) HeldVolumes() ([]runtime.HeldVolume, error) { return d.volumes.Held() }

// DeleteVolume deletes the data of a volume that nothing uses.
func (d *Driver) DeleteVolume(ctx context.Context, project, name string) error {
	held, err := d.volumes.Held()
	if err != nil || !slices.ContainsFunc(held, func(v runtime.HeldVolume) bool { return v.Project == project && v.Name == name }) {
		return err // containerd need not answer for what is not here
	}
	free, err := d.take(d.in(ctx), "its deletion", project, name)
	if err != nil {
		return d.problem("Volume/"+name, "it cannot be deleted", err)
	}
	defer free()
	return d.volumes.Delete(project, name)
}
