package sim

import (
	"context"
	"fmt"
	"time"

	"skerry.dev/agent/move"
	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// reception of a machine, or of a question about one, at the node that it comes to.
type reception struct {
	*mover
	line *line
	from string
	// p is the order of the node that asks.
	p       *skerryv1.Placement
	arrival runtime.Arrival
	// finishing: it is told to let the machine run; over: nothing is done any more.
	finishing, over bool
	// answer to the greeting, with why not, and fate are called at the other node.
	answer func(why string)
	fate   func(move.Fate, string)
}

// within a time, do as soon as it is possible; else late.
func (r *reception) within(limit time.Duration, possible func() bool, do, late func()) {
	end := r.host.elapsed() + limit
	var try func()
	try = func() {
		switch {
		case possible():
			do()
		case r.host.elapsed() > end:
			late()
		default:
			r.after(holdEvery, try)
		}
	}
	try()
}

func (r *reception) mayTake() error {
	return move.MayTake(r.order(r.p), r.p.GetName(), r.from, r.p.GetMigration().GetAttempt())
}

// begin to take it in, when there is an order for that.
func (r *reception) begin() {
	refuse := func(why string) func() { return func() { r.line.say(1, 'n', func() { r.answer(why) }) } }
	hold := func() bool { return r.core.Hold(idOf(r.p)) }
	r.within(askFateTime, func() bool { return r.mayTake() == nil }, func() {
		r.within(askFateTime, hold, func() { r.arrive(r.host.elapsed() + imageTime) }, refuse("something else is done with it"))
	}, refuse("it has no order to take it"))
}

// arrive once the image is there.
func (r *reception) arrive(end time.Duration) {
	id := idOf(r.p)
	r.after(r.takes(durations[reconcile.Prepare]), func() {
		spec := reconcile.SpecOf(r.p)
		r.host.machine.know(spec)
		state, err := r.state(id)
		if err == nil {
			err = move.MayBegin(r.order(r.p), r.p.GetName(), r.from, r.p.GetMigration().GetAttempt(), state)
		}
		var arrival runtime.Arrival
		if err == nil {
			arrival, err = r.host.machine.driver.Arrive(context.Background(), spec, nil)
		}
		if problem.KindOf(err) == problem.NotFound && r.host.elapsed() < end {
			r.letGo(id)
			r.after(lookAtMoves, func() {
				r.within(askFateTime, func() bool { return r.core.Hold(id) }, func() { r.arrive(end) }, func() {})
			})
			return
		}
		if err != nil {
			r.letGo(id)
			r.line.say(1, 'n', func() { r.answer(err.Error()) })
			return
		}
		r.arrival = arrival
		if !r.line.open(1) {
			r.end()
			return
		}
		r.line.broke[1] = func() {
			if !r.finishing {
				r.end()
			}
		}
		r.line.say(1, 'y', func() { r.answer("") })
	})
}

// end it: what has not come wholly is removed.
func (r *reception) end() {
	if r.over {
		return
	}
	r.over = true
	r.arrival.Close()
	r.letGo(idOf(r.p))
}

// finish: let it run here.
func (r *reception) finish(rest []byte) {
	if r.over {
		return
	}
	r.finishing = true
	r.world.reached(takes, r.world.hosts[r.world.hostByName(r.from)], r.host)
	r.after(r.takes(durations[reconcile.Start]), func() {
		err := r.arrival.Finish(context.Background(), rest, r.mayTake)
		r.arrival.Close()
		if err == nil {
			r.world.stats.Moves++
			r.world.reached(arrives, r.world.hosts[r.world.hostByName(r.from)], r.host)
			r.end()
			r.say(move.Here, "")
			return
		}
		r.world.trace.note(r.host.name, "%s could not be taken over: %v", idOf(r.p), err)
		r.found(err.Error(), r.end)
	})
}

func (r *reception) say(fate move.Fate, why string) {
	r.line.say(1, byte('0'+fate), func() { r.fate(fate, why) })
}

// tell what became of an attempt.
func (r *reception) tell() {
	id := idOf(r.p)
	if !r.core.Hold(id) {
		r.say(move.Unclear, "it is at it")
		return
	}
	if err := move.MayTell(r.order(r.p), r.p.GetName(), r.from, r.p.GetMigration().GetAttempt()); err != nil {
		r.letGo(id)
		r.say(move.Unclear, err.Error())
		return
	}
	r.found("it had not arrived", func() { r.letGo(id) })
}

// found is what is here of an instance that nobody is taking in now. What has not
// finished is removed, so that it never will.
func (r *reception) found(why string, done func()) {
	r.after(r.takes(listTime), func() {
		defer done()
		state, err := r.state(idOf(r.p))
		fate := move.FateOf(state)
		if err == nil && fate == move.Half {
			fate, err = move.Gone, r.host.machine.remove(idOf(r.p))
		}
		if err != nil {
			fate, why = move.Unclear, fmt.Sprintf("%s; %v", why, err)
		}
		r.say(fate, why)
	})
}
