package sim

import "time"

// later schedules something that the process does. While it stands still, as
// after SIGSTOP, it does nothing; then it does all that has come due at once.
func (p *process) later(d time.Duration, do func()) {
	p.world.kernel.after(d, func() { p.awake(do) })
}

// awake does something as soon as the process does not stand still. What is to
// be done in one that has died looks after itself.
func (p *process) awake(do func()) {
	if p.isPaused() {
		p.due = append(p.due, do)
		return
	}
	do()
}

func (p *process) isPaused() bool { return p != nil && !p.dead && p.paused > 0 }

// pause the process of a host until what is returned is called.
func (h *host) pause() (resume func()) {
	p := h.process
	if p == nil {
		return func() {}
	}
	h.world.trace.note(h.name, "process stands still")
	p.paused++
	return func() {
		if p.paused--; p.paused > 0 || p.dead {
			return
		}
		h.world.trace.note(h.name, "process goes on")
		p.woke = h.world.kernel.now
		due := p.due
		p.due = nil
		for _, do := range due {
			p.awake(do)
		}
	}
}

// pauseInAsk lets the process stand still as soon as it has asked for a lease:
// the answer waits.
func (h *host) pauseInAsk() (resume func()) {
	goOn := func() {}
	h.inAsk = func() { goOn = h.pause() }
	return func() {
		h.inAsk = nil
		goOn()
	}
}
