package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"skerry.dev/chaos/hosts"
)

// keptFile holds the processes of a demo that was left up.
const keptFile = "/tmp/skerry-demo.pids"

// remember writes down the first process of each host: ending it ends the host.
func remember(rig *hosts.Rig) error {
	var text strings.Builder
	for _, h := range rig.Hosts {
		fmt.Fprintf(&text, "%d\n", h.FirstPID())
	}
	return os.WriteFile(keptFile, []byte(text.String()), 0o600)
}

// clear ends the hosts of a demo that was left up.
func clear() error {
	text, err := os.ReadFile(keptFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || pid < 2 {
			continue
		}
		// The number may be another process's by now: only a host's first
		// process has this command line.
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || !strings.Contains(string(command), "/run/booted") {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return os.Remove(keptFile)
}
