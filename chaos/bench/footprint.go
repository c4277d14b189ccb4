package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"skerry.dev/chaos/hosts"
)

const (
	footprintRuns = 3
	idleTime      = 60 * time.Second
)

// footprint measures the stripped binary, and the resident memory of a plain
// agent and of a coordinator that have been idle for 60 seconds. The site has
// four hosts; the fourth may not vote, so its agent is nothing but an agent.
func footprint(ctx context.Context, binary, dir string) (result, error) {
	size, err := strippedSize(ctx, binary, dir)
	if err != nil {
		return nil, err
	}
	var agents, coordinators []float64
	for run := range footprintRuns {
		plain, coordinator, err := idleMemory(ctx, binary, filepath.Join(dir, strconv.Itoa(run)))
		if err != nil {
			return nil, err
		}
		progress("run %d: agent %.1f MiB, coordinator %.1f MiB", run+1, plain, coordinator)
		agents, coordinators = append(agents, plain), append(coordinators, coordinator)
	}
	out := summary(coordinators, "MiB")
	out["coordinator_mib"] = out["median"]
	out["agent_mib"] = summary(agents, "MiB")["median"]
	out["binary_mb"] = float64(size) / 1e6
	return out, nil
}

func strippedSize(ctx context.Context, binary, dir string) (int64, error) {
	stripped := filepath.Join(dir, "stripped")
	if out, err := exec.CommandContext(ctx, "strip", "-o", stripped, binary).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("strip: %w: %s", err, out)
	}
	info, err := os.Stat(stripped)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func idleMemory(ctx context.Context, binary, dir string) (plain, coordinator float64, err error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return 0, 0, err
	}
	defer closeRig(r)
	idle, err := r.Add(ctx, "--may-vote=false")
	if err != nil {
		return 0, 0, err
	}
	if err := r.Settled(ctx); err != nil {
		return 0, 0, err
	}
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	leader, _, err := r.Coordinator(ctx)
	if err != nil {
		return 0, 0, err
	}
	if coordinator, err = residentOf(leader); err != nil {
		return 0, 0, err
	}
	plain, err = residentOf(idle)
	return plain, coordinator, err
}

func residentOf(h *hosts.Host) (float64, error) {
	pid, err := h.AgentPID()
	if err != nil {
		return 0, err
	}
	return residentMiB(pid)
}

// residentMiB is VmRSS of a process (proc(5)).
func residentMiB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
