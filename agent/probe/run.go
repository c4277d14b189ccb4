package probe

import (
	"fmt"
	"os"
	"strings"
)

// startField of /proc/PID/stat, counted from behind the name: when it started.
const startField = 19

// Run tells one run of the machine, from power on to power off, from all others.
// A container that the agent shares with an init process of its own is a machine.
func Run() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("the run of the machine: %w", err)
	}
	first, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return "", fmt.Errorf("the run of the machine: %w", err)
	}
	// The name is in parentheses, and may have some itself.
	_, rest, _ := strings.Cut(string(first[max(0, strings.LastIndexByte(string(first), ')')):]), " ")
	fields := strings.Fields(rest)
	if len(fields) <= startField {
		return "", fmt.Errorf("the run of the machine: /proc/1/stat has %d fields", len(fields))
	}
	return strings.TrimSpace(string(boot)) + "/" + fields[startField], nil
}
