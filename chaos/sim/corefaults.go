package sim

import (
	"slices"
	"time"
)

// nextFault strikes after a while, until end.
func (c *core) nextFault(end time.Duration) {
	wait := coreFaultEvery/4 + time.Duration(c.faultRng.Int64N(int64(coreFaultEvery)*3/2))
	if c.kernel.now+wait >= end {
		return
	}
	c.kernel.after(wait, func() {
		if undo := c.fault(); undo != nil {
			c.active++
			c.kernel.after(c.lasting(), func() { c.active--; undo() })
		}
		c.nextFault(end)
	})
}

// lasting is mostly seconds, sometimes a moment, now and then half a minute.
func (c *core) lasting() time.Duration {
	switch c.faultRng.IntN(8) {
	case 0, 1:
		return time.Duration(c.faultRng.Int64N(int64(time.Second)))
	case 7:
		return time.Duration(c.faultRng.Int64N(int64(30 * time.Second)))
	default:
		return time.Second + time.Duration(c.faultRng.Int64N(int64(9*time.Second)))
	}
}

// fault does something and returns what ends it; nil when there is nothing to end.
func (c *core) fault() func() {
	rng := c.faultRng
	victim := c.hosts[rng.IntN(len(c.hosts))]
	if leader := c.leader(); leader != nil && rng.IntN(3) == 0 {
		victim = leader
	}
	c.stats.Faults++
	in := &injector{}
	side := make([]bool, len(c.hosts))
	for i := range side {
		side[i] = rng.IntN(2) == 0
	}
	switch kind := rng.IntN(11); kind {
	case 0, 1, 2:
		before := rng.IntN(4)
		c.trace.note(victim.name(), "FAULT crash %d", before)
		return c.down([]*coreHost{victim}, before)
	case 3:
		c.trace.note("core", "FAULT blackout")
		return c.down(c.hosts, 2)
	case 4, 5:
		c.trace.note("core", "FAULT split %v", side)
		return in.count(c.net.cuts, func(a, b int) bool { return side[a] != side[b] })
	case 6:
		c.trace.note("core", "FAULT one-way cut %v", side)
		return in.count(c.net.cuts, func(a, b int) bool { return side[a] && !side[b] })
	case 7:
		c.trace.note(victim.name(), "FAULT poor links")
		return in.count(c.net.bad, func(a, b int) bool { return a == victim.index || b == victim.index })
	case 8:
		c.trace.note(victim.name(), "FAULT pause")
		victim.paused++
		return victim.resume
	case 9:
		a, b := rng.IntN(len(c.hosts)), rng.IntN(len(c.hosts))
		c.trace.note(hostName(a), "FAULT cut from %s", hostName(b))
		return in.count(c.net.cuts, func(from, to int) bool { return from == a && to == b || from == b && to == a })
	default:
		if !c.mayFlip(victim) {
			return nil
		}
		c.trace.note(victim.name(), "FAULT a bit of the log of %d flips", victim.id)
		undo := c.down([]*coreHost{victim}, 2)
		victim.disk.flip(rng)
		return undo
	}
}

// down kills processes, now or in their next write, before or after the disk has
// it; at the end they are started again.
func (c *core) down(hosts []*coreHost, how int) func() {
	hosts = slices.Clone(hosts)
	for _, h := range hosts {
		h.held++
		if h.disk == nil || how > 1 {
			h.kill()
			continue
		}
		h.disk.dieBefore, h.disk.dieAfter = how == 0, how == 1
	}
	return func() {
		for _, h := range hosts {
			if h.held--; h.held == 0 {
				h.kill() // if it still waits for its end
				c.kernel.after(startTime+time.Duration(c.hostRng.Int64N(int64(time.Second))), h.start)
			}
		}
	}
}

// resume lets a process go on that stood still; it does in order what has come due.
func (h *coreHost) resume() {
	if h.paused--; h.paused > 0 {
		return
	}
	due, life := h.due, h.life
	h.due = nil
	for _, do := range due {
		if h.life == life && h.replica != nil {
			h.awake(do)
		}
	}
}

// mayFlip: a majority of the voters is left without this one, all of the others
// have their logs, and no change is under way.
func (c *core) mayFlip(h *coreHost) bool {
	status := c.conf
	if h.id == 0 || status.Joint || len(status.Learners) > 0 || !slices.Contains(status.Voters, h.id) || len(status.Voters) < 3 {
		return false
	}
	if leader := c.leader(); leader == nil || leader.last.Applied != status.Applied {
		return false
	}
	for _, other := range c.hosts {
		if other.disk != nil && (other.disk.flipped || other.disk.refused) {
			return false
		}
	}
	return true
}
