package hosts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Starve lets the agent have so many percent of one processor, until the
// function that it returns is called or the agent ends.
func (h *Host) Starve(percent int) (feed func() error, err error) {
	pid, err := h.AgentPID()
	if err != nil {
		return nil, err
	}
	root, quota := "/sys/fs/cgroup/cpu", map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": strconv.Itoa(percent * 1000)}
	if _, err := os.Stat(root); err != nil {
		root, quota = "/sys/fs/cgroup", map[string]string{"cpu.max": fmt.Sprintf("%d 100000", percent*1000)}
	}
	// Beside the cgroup of what the host runs: a cgroup with processes and others
	// below it is not allowed everywhere.
	dir := filepath.Join(root, h.cgroup()+"-starved")
	before, err := cgroupOf(pid, root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for file, value := range quota {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o600); err != nil {
			return nil, errors.Join(err, os.Remove(dir))
		}
	}
	if err := enterCgroup(pid, dir); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return func() error {
		// Also what the agent has started meanwhile.
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, process := range strings.Fields(string(text)) {
			number, _ := strconv.Atoi(process) // the kernel wrote it
			_ = enterCgroup(number, before)    // it may have ended
		}
		return errors.Join(err, os.Remove(dir))
	}, nil
}

func enterCgroup(pid int, dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600)
}

// cgroupOf a process, as a directory below root.
func cgroupOf(pid int, root string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) == 3 && (fields[1] == "" && root == "/sys/fs/cgroup" || strings.Contains(","+fields[1]+",", ",cpu,")) {
			return filepath.Join(root, fields[2]), nil
		}
	}
	return "", fmt.Errorf("process %d is in no cgroup below %s", pid, root)
}
