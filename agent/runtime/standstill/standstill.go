// Package standstill stops real processes in tests.
package standstill

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTime bounds how long a process may take to stand still.
const stopTime = 10 * time.Second

// Stop a process with SIGSTOP, and wait until all of its threads stand still: the
// signal alone returns before. SIGCONT lets it go on. An error says which process
// still moves after 10 s.
func Stop(pid int) error {
	for end := time.Now().Add(stopTime); ; time.Sleep(time.Millisecond) {
		// Again each time: nsenter lets its child go on when it goes on itself, which may
		// come late from a stop before this one.
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
		states, err := threads(pid)
		switch {
		case err != nil:
			return fmt.Errorf("look whether process %d stands still: %w", pid, err)
		case stands(states):
			return nil
		case strings.Trim(states, "ZX") == "":
			return fmt.Errorf("process %d has ended: %w", pid, syscall.ESRCH)
		case time.Now().After(end):
			return fmt.Errorf("process %d does not stand still %s after SIGSTOP: its threads are in states %q", pid, stopTime, states)
		}
	}
}

// threads are the states of a process's threads, as /proc has them.
func threads(pid int) (states string, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // this thread has ended
		}
		// The name before the state may hold brackets and blanks.
		_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		states += rest[:1]
	}
	return states, nil
}

// stands still: one thread has stopped, which tells all others to, and none runs or
// may wake. One that waits for a disk stops before it returns from the kernel.
func stands(states string) bool {
	return strings.Contains(states, "T") && strings.Trim(states, "TDZX") == ""
}
