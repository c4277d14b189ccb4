package sim

import (
	"fmt"
	"slices"
	"time"

	"skerry.dev/chaos/check"
)

// A coordinator may stay in office for givenWayAfter while its process is stopped for more
// than half of the time, often times at least.
const (
	givenWayAfter = 5 * time.Second
	often         = 10
)

// stop of a process.
type stop struct{ until, lasted time.Duration }

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
	began := h.world.kernel.now
	return func() {
		if p.paused--; p.paused > 0 || p.dead {
			return
		}
		h.world.trace.note(h.name, "process goes on")
		p.woke = h.world.kernel.now
		h.wentOn(stop{p.woke, p.woke - began})
		due := p.due
		p.due = nil
		for _, do := range due {
			p.awake(do)
		}
	}
}

// wentOn notes a stop that is over, and looks whether who is stopped again and again is in
// office all the same.
func (h *host) wentOn(last stop) {
	h.stops = slices.DeleteFunc(append(h.stops, last), func(s stop) bool { return s.until <= last.until-givenWayAfter })
	var lost time.Duration
	for _, s := range h.stops {
		lost += s.lasted
	}
	if v := h.process.voter; v != nil && v.lead != nil && len(h.stops) >= often && 2*lost > givenWayAfter && last.until-v.lead.began > givenWayAfter {
		h.world.violate(&check.Violation{Rule: check.GivesWay, Message: fmt.Sprintf(
			"%s coordinates for %s, and stood still %d times in the last %s, for %s", h.name, last.until-v.lead.began, len(h.stops), givenWayAfter, lost)})
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
