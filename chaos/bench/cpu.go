package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"skerry.dev/chaos/hosts"
)

// tick of the kernel's counts of processor time.
const tick = 10 * time.Millisecond

// cpuUse is processor time since a moment: of the agents, one for each host,
// and of the clients, which are this process.
type cpuUse struct {
	agents  []time.Duration
	clients time.Duration
}

// cpuOf a rig's agents and of this process until now.
func cpuOf(r *hosts.Rig) (cpuUse, error) {
	var own unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &own); err != nil {
		return cpuUse{}, err
	}
	use := cpuUse{clients: time.Duration(own.Utime.Nano() + own.Stime.Nano())}
	for _, h := range r.Hosts {
		pid, err := h.AgentPID()
		if err != nil {
			return cpuUse{}, err
		}
		spent, err := cpuOfProcess(pid)
		if err != nil {
			return cpuUse{}, err
		}
		use.agents = append(use.agents, spent)
	}
	return use, nil
}

// cpuOfProcess is what a process has had of the processors, in its own code and
// in the kernel's.
func cpuOfProcess(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program is in brackets and may hold anything.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has only %d fields", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// since an earlier reading.
func (u cpuUse) since(before cpuUse) cpuUse {
	spent := cpuUse{clients: u.clients - before.clients}
	for i := range u.agents {
		spent.agents = append(spent.agents, u.agents[i]-before.agents[i])
	}
	return spent
}

// perThousand is the time of agents and clients for 1,000 of so many writes, in
// seconds.
func (u cpuUse) perThousand(writes int) float64 {
	sum := u.clients
	for _, spent := range u.agents {
		sum += spent
	}
	return 1000 * sum.Seconds() / float64(writes)
}
