package hosts

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Containers are the first processes of the containers on the host, by the
// container: when each began, in the kernel's ticks, which tells it from any
// other. They are read from the kernel: neither agent nor containerd is asked.
func (h *Host) Containers() (map[string]string, error) {
	roots, err := filepath.Glob("/sys/fs/cgroup/pids/" + h.cgroup())
	if err == nil && len(roots) == 0 {
		roots, err = filepath.Glob("/sys/fs/cgroup/" + h.cgroup())
	}
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return nil // it was removed meanwhile
			}
			if first := oldest(path); first != "" {
				found[entry.Name()] = first
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// oldest process of a cgroup; empty when there is none.
func oldest(cgroup string) string {
	text, err := os.ReadFile(filepath.Join(cgroup, "cgroup.procs"))
	if err != nil {
		return ""
	}
	first, begun := "", uint64(0)
	for _, pid := range strings.Fields(string(text)) {
		at, err := startOf(pid)
		if err == nil && (first == "" || at < begun) {
			first, begun = fmt.Sprintf("%s@%d", pid, at), at
		}
	}
	return first
}

// startOf a process in ticks since the machine's start.
func startOf(pid string) (uint64, error) {
	const startTime = 19 // fields after the name
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	// The name of the program is in brackets and may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) <= startTime {
		return 0, fmt.Errorf("/proc/%s/stat has only %d fields", pid, len(fields))
	}
	return strconv.ParseUint(fields[startTime], 10, 64)
}
