package containerd

import (
	"context"
	"errors"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime"
)

// Start starts a prepared instance.
func (d *Driver) Start(ctx context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	ctx = d.in(ctx)
	present, err := d.look(ctx, id)
	if err != nil {
		return d.problem(id, "it cannot be started", err)
	}
	if runs, err := present.CheckStart(id); runs || err != nil {
		return err
	}
	err = d.start(ctx, id)
	if err != nil && ctx.Err() == nil && !errdefs.IsUnavailable(err) {
		err = d.startRepaired(ctx, id, err)
	}
	return d.problem(id, "it cannot be started", err)
}

// start makes a task and starts it. A failure leaves the instance prepared.
func (d *Driver) start(ctx context.Context, id string) (err error) {
	container, err := d.client.LoadContainer(ctx, containerID(id))
	if err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		cleanup, cancel := d.after(ctx)
		defer cancel()
		_, failed := d.removeTask(cleanup, container.ID())
		if failed := errors.Join(failed, d.markStarted(cleanup, container.ID(), time.Time{})); failed != nil {
			d.Logger.Warn("a failed start could not be undone", "instance", id, "error", failed)
		}
	}()
	task, err := container.Task(ctx, nil) // an earlier attempt may have made it
	if errdefs.IsNotFound(err) {
		task, err = container.NewTask(ctx, cio.LogFile(d.logs.File(id, 0)))
	}
	if err != nil {
		return err
	}
	// Before the start: a run that nobody noted would be taken for none.
	if err := d.markStarted(ctx, container.ID(), d.Env.Clock.Now()); err != nil {
		return err
	}
	return task.Start(ctx)
}

func (d *Driver) markStarted(ctx context.Context, container string, at time.Time) error {
	value := ""
	if !at.IsZero() {
		value = at.UTC().Format(time.RFC3339Nano)
	}
	_, err := d.client.ContainerService().Update(ctx,
		containers.Container{ID: container, Labels: map[string]string{labelStarted: value}}, "labels."+labelStarted)
	return err
}

// Stop asks the instance to end, and kills it when grace has passed.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	ctx = d.in(ctx)
	container := containerID(id)
	answer, err := d.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: container})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return d.problem(id, "it cannot be stopped", err)
	}
	switch answer.GetProcess().GetStatus() {
	case tasktypes.Status_STOPPED, tasktypes.Status_CREATED:
		return nil
	}
	if err := d.stop(ctx, container, grace); err != nil {
		return d.problem(id, "it cannot be stopped", err)
	}
	return d.problem(id, "its secrets are still in memory", d.dropSecrets(container))
}

func (d *Driver) stop(ctx context.Context, container string, grace time.Duration) error {
	ended := d.wait(ctx, container)
	if err := d.kill(ctx, container, unix.SIGTERM, false); err != nil {
		return err
	}
	timer := d.Env.Clock.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C():
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := d.kill(ctx, container, unix.SIGKILL, true); err != nil {
		return err
	}
	return <-ended
}

// wait sends nil when the task has ended, or why that cannot be known; ctx
// bounds it.
func (d *Driver) wait(ctx context.Context, container string) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := d.client.TaskService().Wait(ctx, &tasksapi.WaitRequest{ContainerID: container})
		if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
			err = nil
		}
		ended <- err
	}()
	return ended
}

// kill sends a signal; it is no error when nothing runs any more.
func (d *Driver) kill(ctx context.Context, container string, signal unix.Signal, all bool) error {
	_, err := d.client.TaskService().Kill(ctx, &tasksapi.KillRequest{ContainerID: container, Signal: uint32(signal), All: all})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
		return nil
	}
	return err
}

// removeTask kills what runs and removes its task. It returns how the task was
// when it came; nil when there was none.
func (d *Driver) removeTask(ctx context.Context, container string) (*tasktypes.Process, error) {
	answer, err := d.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: container})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	task := answer.GetProcess()
	if task.GetStatus() != tasktypes.Status_STOPPED {
		ended := d.wait(ctx, container)
		if err := d.kill(ctx, container, unix.SIGKILL, task.GetStatus() != tasktypes.Status_CREATED); err != nil {
			return nil, err
		}
		if err := <-ended; err != nil {
			return nil, err
		}
	}
	_, err = d.client.TaskService().Delete(ctx, &tasksapi.DeleteTaskRequest{ContainerID: container})
	if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
		err = nil
	}
	return task, err
}
