package sim

import (
	"fmt"
	"slices"
	"time"

	"skerry.dev/agent/guard"
	"skerry.dev/agent/lease"
	"skerry.dev/chaos/check"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// guardian is the guard process of a host: the shell around guard.Core. It goes on
// whatever happens to the agent.
type guardian struct {
	host  *host
	core  guard.Core
	boots int
	// alarm counts the timers that were set; only the last one counts.
	alarm int
}

func newGuardian(h *host) *guardian { return &guardian{host: h} }

// begin anew, as after a power cut.
func (g *guardian) begin() {
	g.core = guard.Core{}
	g.boots++
}

func (g *guardian) entries() []guard.Entry { return slices.Clone(g.core.Entries()) }

// ended: the lease is over, and nothing of it can start any more.
func (g *guardian) ended(id string) bool {
	return slices.ContainsFunc(g.core.Entries(), func(e guard.Entry) bool { return e.ID == id && e.Ended })
}

func (g *guardian) arm(a lease.Arm) (time.Duration, error) {
	arm := g.core.Arm
	if a.Anew {
		arm = g.core.Anew
		g.core.Thaw(a.ID)
		g.step()
	}
	kill, err := arm(a.ID, "model:"+a.ID, a.Until, a.Lease, g.host.leaseClock())
	if !g.host.world.has(ForgetfulGuard) {
		g.watch()
	}
	return kill, err
}

// watch acts on time for as long as there is something to guard.
func (g *guardian) watch() {
	g.alarm++
	boots, alarm := g.boots, g.alarm
	wake := g.step()
	if wake == 0 {
		return
	}
	g.host.world.kernel.after(min(wake, guardPause), func() {
		if g.boots == boots && g.host.unpowered == 0 && g.alarm == alarm {
			g.watch()
		}
	})
}

// guardPause is the longest that the guard sleeps (agent/guard).
const guardPause = 500 * time.Millisecond

func (g *guardian) step() time.Duration {
	now := g.host.leaseClock()
	kill, _, wake := g.core.Step(now)
	for _, id := range kill {
		found := g.host.machine.runs(id)
		if found {
			g.host.world.trace.note(g.host.name, "the guard ends %s", id)
			g.host.machine.driver.End(id, &skerryv1.Exit{Code: 137})
			g.host.machine.changed()
		}
		g.core.Killed(id, found, true, now)
	}
	return wake
}

// leaseClock is what leases are counted by.
func (h *host) leaseClock() time.Duration {
	if h.world.has(LeaseWallClock) {
		return h.now().Sub(simulationStart)
	}
	return h.elapsed()
}

// judgeLone looks how often the exclusive workload runs, now, on all machines.
func (w *world) judgeLone(workload string) {
	if workload != lone {
		return
	}
	var running []string
	for _, h := range w.hosts {
		for id := range h.machine.running {
			if h.machine.workloads[id] == lone {
				running = append(running, fmt.Sprintf("%s on %s", id, h.name))
			}
		}
	}
	slices.Sort(running)
	w.violate(check.RunsOnce(lone, running))
}

// loneHost is where the exclusive workload runs; -1 for nowhere.
func (w *world) loneHost() int {
	for _, h := range w.hosts {
		for id := range h.machine.running {
			if h.machine.workloads[id] == lone {
				return h.index
			}
		}
	}
	return -1
}
