package containerd

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"skerry.dev/agent/guard"
	"skerry.dev/shared/env"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroup is the path of a container's cgroup below the root of any hierarchy.
func (d *Driver) cgroup(container string) string {
	return filepath.Join("/", d.CgroupParent, container)
}

// GuardTarget implements runtime.Guarded: all processes of a container are in its
// control group.
func (d *Driver) GuardTarget(id string, _ bool) string {
	return guard.CgroupTarget(d.cgroup(containerID(id)))
}

// unified tells whether the machine has cgroup v2 only.
func unified() bool {
	var stat unix.Statfs_t
	return unix.Statfs(cgroupRoot, &stat) == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC
}

// limitsSwap tells whether the kernel counts swap, which Debian's does not
// with cgroup v1 unless asked to.
func limitsSwap() bool {
	name := "/proc/swaps"
	if !unified() {
		name = filepath.Join(cgroupRoot, "memory/memory.memsw.limit_in_bytes")
	}
	_, err := os.Stat(name)
	return err == nil
}

// oomKills counts what the kernel killed in a cgroup for want of memory. The
// cgroup lives as long as the task's record, so the count is there also for
// who did not watch.
func oomKills(cgroup string) int {
	name := filepath.Join(cgroupRoot, "memory", cgroup, "memory.oom_control")
	if unified() {
		name = filepath.Join(cgroupRoot, cgroup, "memory.events")
	}
	file, err := os.Open(name)
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }() // opened for reading only
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if count, found := strings.CutPrefix(lines.Text(), "oom_kill "); found {
			n, err := strconv.Atoi(count)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// removeCgroup removes what a dead shim left of a container's cgroup. runc does
// it when all is well.
func (d *Driver) removeCgroup(ctx context.Context, container string) error {
	dirs := []string{filepath.Join(cgroupRoot, d.cgroup(container))}
	if !unified() {
		dirs, _ = filepath.Glob(filepath.Join(cgroupRoot, "*", d.cgroup(container))) // the pattern is well-formed
	}
	for _, dir := range dirs {
		err := os.Remove(dir)
		for try := 0; errors.Is(err, unix.EBUSY) && try < 20; try++ { // the kernel lags behind the last exit
			if err := env.Sleep(ctx, d.Env.Clock, 10*time.Millisecond); err != nil {
				return err
			}
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
