package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/containerd/errdefs"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

var _ runtime.Attester = (*Driver)(nil)

// InstanceOf implements runtime.Attester: the kernel tells the cgroup of a
// process, and only root changes it.
func (d *Driver) InstanceOf(ctx context.Context, pid int) (string, error) {
	subject := fmt.Sprintf("process %d", pid)
	cgroups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return "", problem.New(problem.NotFound, subject, "it has ended, or is of another machine")
	}
	if err != nil {
		return "", problem.New(problem.Internal, subject, "its control groups cannot be read: %w", err)
	}
	container, err := containerOf(string(cgroups), d.cgroup(""))
	if err != nil {
		return "", problem.New(problem.NotFound, subject, "%w", err)
	}
	record, err := d.client.ContainerService().Get(d.in(ctx), container)
	if errdefs.IsNotFound(err) {
		return "", problem.New(problem.NotFound, subject, "its container %s is none of this node's", container)
	}
	if err != nil {
		return "", d.problem(subject, "its container "+container+" is not known", err)
	}
	id := record.Labels[labelInstance]
	present, err := d.look(d.in(ctx), id)
	if err != nil {
		return "", d.problem(subject, "its container cannot be looked at", err)
	}
	if id == "" || containerID(id) != container || present == nil || present.State != runtime.Running {
		return "", problem.New(problem.NotFound, subject, "its container %s does not run", container)
	}
	return id, nil
}

// containerOf finds the container in /proc/PID/cgroup: its cgroup is below
// parent, in the one hierarchy of version 2 as in those of version 1, which must
// agree.
func containerOf(cgroups, parent string) (string, error) {
	prefix := strings.TrimSuffix(parent, "/") + "/"
	found := ""
	for line := range strings.Lines(cgroups) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			return "", errors.New("its control groups are not told in a known way")
		}
		below, is := strings.CutPrefix(fields[2], prefix)
		if !is {
			continue
		}
		container, _, _ := strings.Cut(below, "/")
		if len(container) > maxContainerID || !containerPattern.MatchString(container) {
			return "", errors.New("its control group is not that of a container")
		}
		if found != "" && found != container {
			return "", fmt.Errorf("its control groups are those of two containers, %s and %s", found, container)
		}
		found = container
	}
	if found == "" {
		return "", errors.New("it is in no container of this node's")
	}
	return found, nil
}
