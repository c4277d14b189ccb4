package containerd

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// List returns everything that this driver ever made and has not removed.
func (d *Driver) List(ctx context.Context) ([]runtime.Instance, error) {
	ctx = d.in(ctx)
	records, err := d.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q", labelInstance))
	if err != nil {
		return nil, d.problem("", "what runs cannot be listed", err)
	}
	answer, err := d.client.TaskService().List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil {
		return nil, d.problem("", "what runs cannot be listed", errgrpc.ToNative(err))
	}
	tasks := map[string]*tasktypes.Process{}
	for _, task := range answer.GetTasks() {
		tasks[cmp.Or(task.GetContainerID(), task.GetID())] = task
	}
	var all []runtime.Instance
	known := map[string]bool{}
	for _, record := range records {
		known[record.Labels[labelInstance]] = true
		instance := d.instance(record, tasks[record.ID])
		if instance.Exit != nil && record.Labels[labelExit] == "" {
			d.markExit(ctx, record.ID, instance.Exit)
			if err := d.dropSecrets(record.ID); err != nil {
				d.Logger.Warn("secrets of a container that ended are still in memory; they go with it", "instance", instance.ID, "error", err)
			}
		}
		all = append(all, instance)
	}
	leftovers, err := os.ReadDir(d.instancesDir())
	if err != nil {
		return nil, d.problem("", "what was left behind cannot be listed", err)
	}
	for _, entry := range leftovers {
		if id := entry.Name(); !known[id] {
			all = append(all, runtime.Instance{ID: id, State: runtime.Broken})
		}
	}
	slices.SortFunc(all, func(a, b runtime.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// look returns one instance; nil when containerd has no record of it.
func (d *Driver) look(ctx context.Context, id string) (*runtime.Instance, error) {
	record, err := d.client.ContainerService().Get(ctx, containerID(id))
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	answer, err := d.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: record.ID})
	if err = errgrpc.ToNative(err); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	instance := d.instance(record, answer.GetProcess())
	return &instance, nil
}

// instance says how a container is, given its task, which may be nil.
func (d *Driver) instance(record containers.Container, task *tasktypes.Process) runtime.Instance {
	i := runtime.Instance{
		ID:       record.Labels[labelInstance],
		SpecHash: record.Labels[labelSpec],
		Address:  record.Labels[labelAddress],
	}
	started := record.Labels[labelStarted]
	if at, err := time.Parse(time.RFC3339Nano, started); err == nil {
		i.StartedAt = at
	}
	switch {
	case task.GetStatus() == tasktypes.Status_STOPPED:
		i.State = runtime.Exited
		i.Exit = &skerryv1.Exit{Code: int32(task.GetExitStatus()), At: task.GetExitedAt()}
		if i.Exit.GetAt().AsTime().Unix() <= 0 {
			i.Exit.At = timestamppb.New(d.Env.Clock.Now())
		}
		i.Exit.OomKilled = i.Exit.GetCode() != 0 && oomKills(d.cgroup(record.ID)) > 0
	case task != nil && task.GetStatus() != tasktypes.Status_CREATED:
		// Also one of unknown status, whose shim is slow: to take it for ended
		// would run it twice.
		i.State = runtime.Running
	case task == nil && started != "":
		// It ended before the machine did, or else with it, or with its shim:
		// then nobody knows how.
		i.State = runtime.Exited
		i.Exit = readExit(record.Labels[labelExit])
	case d.whole(record):
		i.State = runtime.Prepared
	default:
		i.State = runtime.Broken
	}
	return i
}

// whole tells whether a prepared container still has what a start needs: a
// reboot takes its network away.
func (d *Driver) whole(record containers.Container) bool {
	if there, err := exists(d.instanceDir(record.Labels[labelInstance])); err != nil || !there {
		return false
	}
	if record.Labels[labelSecrets] == "true" && !mounted(d.secretsDir(record.ID)) {
		return false
	}
	return record.Labels[labelNetwork] != networkBridge || isNetns(d.network.netns(record.ID))
}

// markExit notes how a run ended. Failing that, it is noted at the next look.
func (d *Driver) markExit(ctx context.Context, container string, exit *skerryv1.Exit) {
	value := fmt.Sprintf("%d %t %s", exit.GetCode(), exit.GetOomKilled(), exit.GetAt().AsTime().Format(time.RFC3339Nano))
	_, err := d.client.ContainerService().Update(ctx,
		containers.Container{ID: container, Labels: map[string]string{labelExit: value}}, "labels."+labelExit)
	if err != nil && !errdefs.IsNotFound(err) {
		d.Logger.Debug("an exit was not noted", "container", container, "error", err)
	}
}

// readExit of a label; nil when it holds none.
func readExit(value string) *skerryv1.Exit {
	var at string
	exit := &skerryv1.Exit{}
	if _, err := fmt.Sscanf(value, "%d %t %s", &exit.Code, &exit.OomKilled, &at); err != nil {
		return nil
	}
	if parsed, err := time.Parse(time.RFC3339Nano, at); err == nil {
		exit.At = timestamppb.New(parsed)
	}
	return exit
}
