package containerd

import (
	"context"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// Kinds of network of a container.
const (
	networkBridge = "bridge"
	networkHost   = "host"
	networkNone   = "none"
)

// Prepare makes everything that Start needs.
func (d *Driver) Prepare(ctx context.Context, spec runtime.Spec) error {
	if err := runtime.CheckID(spec.ID); err != nil {
		return err
	}
	ctx = d.in(ctx)
	present, err := d.look(ctx, spec.ID)
	if err != nil {
		return d.problem(spec.ID, "it cannot be prepared", err)
	}
	if present != nil && present.SpecHash != spec.Hash() {
		return problem.New(problem.Conflict, spec.ID, "it exists with another specification").WithHint("remove it first")
	}
	if present != nil && present.State != runtime.Broken {
		return nil
	}
	// What an earlier attempt left behind goes first.
	if there, err := exists(d.instanceDir(spec.ID)); err != nil || there || present != nil {
		if err := d.Remove(ctx, spec.ID); err != nil {
			return err
		}
	}
	free, err := d.take(ctx, spec.ID, spec.Project, volumesOf(spec)...)
	if err != nil {
		return d.problem(spec.ID, "it cannot be prepared", err)
	}
	defer free()
	if err := d.prepare(ctx, spec); err != nil {
		cleanup, cancel := d.after(ctx)
		defer cancel()
		if failed := d.Remove(cleanup, spec.ID); failed != nil {
			d.Logger.Warn("what a failed prepare left behind stays until it is removed", "instance", spec.ID, "error", failed)
		}
		return d.problem(spec.ID, "it cannot be prepared", err)
	}
	return nil
}

// prepare makes the parts one after the other; the record of containerd is the
// last one.
func (d *Driver) prepare(ctx context.Context, spec runtime.Spec) error {
	image, err := d.runnable(ctx, spec.ImageDigest)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(d.instanceDir(spec.ID), 0o700); err != nil {
		return err
	}
	// Whatever the agent's umask: users in the container reach what is in it.
	if err := os.Chmod(d.instanceDir(spec.ID), 0o711); err != nil {
		return err
	}
	if err := d.logs.Create(spec.ID); err != nil {
		return err
	}
	record := containers.Container{
		ID:          containerID(spec.ID),
		Image:       image.record,
		Runtime:     containers.RuntimeInfo{Name: runtimeName},
		SnapshotKey: containerID(spec.ID),
		Snapshotter: image.snapshotter,
		Labels: map[string]string{
			labelInstance: spec.ID, labelSpec: spec.Hash(), labelDigest: spec.ImageDigest,
			labelProject: spec.Project, labelPlacement: spec.Placement, labelWorkload: spec.Workload,
			labelNetwork: spec.Container.GetNetwork(), labelSecrets: strconv.FormatBool(!spec.Secrets.Empty()),
		},
	}
	if names := volumesOf(spec); len(names) > 0 {
		record.Labels[labelVolumes] = strings.Join(names, ",")
	}
	address := ""
	if spec.Container.GetNetwork() == networkBridge {
		if address, err = d.network.add(ctx, record.ID, spec.Container.GetPorts()); err != nil {
			return err
		}
		record.Labels[labelAddress] = address
	}
	if err := d.writeFiles(spec, address); err != nil {
		return err
	}
	ctx, release, err := d.lease(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, err := d.client.SnapshotService(record.Snapshotter).Prepare(ctx, record.SnapshotKey, image.top); err != nil {
		return err
	}
	oci, err := d.ociSpec(ctx, spec, image, &record)
	if err != nil {
		return err
	}
	if err := d.makeVolumes(spec, oci.Process.User); err != nil {
		return err
	}
	if err := d.makeSecrets(spec, oci.Process.User); err != nil {
		return err
	}
	if record.Spec, err = typeurl.MarshalAny(oci); err != nil {
		return err
	}
	_, err = d.client.ContainerService().Create(ctx, record)
	return err
}

// Remove removes every trace of the instance but its logs.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	ctx = d.in(ctx)
	container := containerID(id)
	record, err := d.client.ContainerService().Get(ctx, container)
	if err != nil && !errdefs.IsNotFound(err) {
		return d.problem(id, "it cannot be removed", err)
	}
	if there, failed := exists(d.instanceDir(id)); failed == nil && !there && err != nil {
		return nil
	}
	if err := d.removeParts(ctx, record, container); err != nil {
		return d.problem(id, "it cannot be removed", err)
	}
	if err := os.RemoveAll(d.instanceDir(id)); err != nil {
		return d.problem(id, "it cannot be removed", err)
	}
	return nil
}

// removeParts removes what runs first and what it stands on last. Each part
// may be gone already.
func (d *Driver) removeParts(ctx context.Context, record containers.Container, container string) error {
	task, err := d.removeTask(ctx, container)
	if err != nil {
		return err
	}
	d.inspect(record, task)
	if err := d.network.remove(ctx, container); err != nil {
		return err
	}
	if err := d.client.ContainerService().Delete(ctx, container); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	snapshotter := record.Snapshotter
	if snapshotter == "" {
		store, err := d.store(ctx)
		if err != nil {
			return err
		}
		snapshotter = store.snapshotter
	}
	if err := d.client.SnapshotService(snapshotter).Remove(ctx, container); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := d.dropSecrets(container); err != nil {
		return err
	}
	return d.removeCgroup(ctx, container)
}
