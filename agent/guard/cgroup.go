package guard

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupScheme of a target: `cgroup:/skerry/default.web-1`, as the container
// runtime names it.
const cgroupScheme = "cgroup:"

// CgroupTarget is what to kill for a container in this control group.
func CgroupTarget(path string) string { return cgroupScheme + filepath.Clean(path) }

const (
	cgroupRoot = "/sys/fs/cgroup"
	// maxDepth of groups that a workload makes below its own.
	maxDepth = 8
)

// cgroups kills all that is in a control group, and freezes it: whatever comes
// late into it runs nothing.
type cgroups struct {
	root    string
	unified bool
}

func newCgroups() cgroups {
	var stat unix.Statfs_t
	if unix.Statfs(cgroupRoot, &stat) == nil && stat.Type == unix.CGROUP2_SUPER_MAGIC {
		return cgroups{root: cgroupRoot, unified: true}
	}
	return cgroups{root: filepath.Join(cgroupRoot, "freezer")}
}

// dirOf a target: never the root, and nothing outside of it.
func (c cgroups) dirOf(target string) (string, error) {
	path, is := strings.CutPrefix(target, cgroupScheme)
	if !is || path == "/" || path == "." || strings.Contains(path, "..") {
		return "", errors.New("there is no way to kill " + strconv.Quote(target))
	}
	return filepath.Join(c.root, path), nil
}

// strike freezes a group, kills what is in it, and tells whether something was.
// thawed: what is empty is not frozen.
func (c cgroups) strike(target string, thawed bool) (found bool, err error) {
	dir, err := c.dirOf(target)
	if err != nil {
		return false, err
	}
	if thawed && len(c.pids(dir, 0)) == 0 {
		_ = c.freeze(dir, false) // there may be none any more
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	if err := c.freeze(dir, true); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	pids := c.pids(dir, 0)
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL) // it may be gone by now
	}
	if !c.unified && len(pids) > 0 {
		_ = c.freeze(dir, false) // a frozen process dies when it is thawed, before it runs anything
	}
	return len(pids) > 0, nil
}

// gone tells whether nothing is left of what was struck a moment ago. It leaves the
// group frozen, unless it is thawed.
func (c cgroups) gone(target string, thawed bool) bool {
	dir, err := c.dirOf(target)
	if err != nil {
		return false
	}
	_ = c.freeze(dir, !thawed) // as it was a moment ago, or before the runtime wanted it
	return len(c.pids(dir, 0)) == 0
}

// release thaws and removes the group of something that is gone for good.
func (c cgroups) release(target string) {
	dir, err := c.dirOf(target)
	if err != nil || len(c.pids(dir, 0)) > 0 {
		return
	}
	_ = c.freeze(dir, false) // there may be none any more
	_ = unix.Rmdir(dir)
}

func (c cgroups) freeze(dir string, frozen bool) error {
	name, text := "freezer.state", "THAWED"
	if frozen {
		text = "FROZEN"
	}
	if c.unified {
		name, text = "cgroup.freeze", "0"
		if frozen {
			text = "1"
		}
	}
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// pids of all processes in the group and the groups below it.
func (c cgroups) pids(dir string, depth int) []int {
	var pids []int
	if listed, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err == nil {
		for _, field := range strings.Fields(string(listed)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
				pids = append(pids, pid)
			}
		}
	}
	if depth == maxDepth {
		return pids
	}
	below, _ := os.ReadDir(dir) // none when it is gone
	for _, entry := range below {
		if entry.IsDir() {
			pids = append(pids, c.pids(filepath.Join(dir, entry.Name()), depth+1)...)
		}
	}
	return pids
}
