package sim

import (
	"context"
	"time"

	"skerry.dev/agent/move"
	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// The times of the real shell (agent/move).
const (
	maxMoves    = 2
	lookAtMoves = time.Second
	imageTime   = 2 * time.Minute
	prepareTime = imageTime + time.Minute
	finishTime  = 90 * time.Second
	// askFateTime bounds a question to the other node.
	askFateTime = 10 * time.Second
	// holdEvery is how often it is tried to be the only one who does something to an
	// instance.
	holdEvery = 100 * time.Millisecond
	// copyTime is how long a copy takes at most, listTime a look at what is there.
	copyTime, listTime = 8 * time.Second, 30 * time.Millisecond
)

// mover of a node: the shell around the rules of agent/move and a driver that moves.
type mover struct {
	*node
	// departing are on their way, or asked for.
	departing map[string]*handover
}

func newMover(a *node) *mover {
	m := &mover{node: a, departing: map[string]*handover{}}
	m.every(lookAtMoves, m.next)
	return m
}

func idOf(p *skerryv1.Placement) string {
	return reconcile.InstanceID(p.GetProject(), p.GetName())
}

// order of a placement as it is at present; nil for none.
func (m *mover) order(p *skerryv1.Placement) *skerryv1.Placement {
	for _, now := range m.ledger.Current().GetPlacements() {
		if now.GetProject() == p.GetProject() && now.GetName() == p.GetName() {
			return now
		}
	}
	return nil
}

// next begins with what is due, and ends what is not ordered any more.
func (m *mover) next() {
	for _, p := range m.ledger.Current().GetPlacements() {
		if p.GetSpec().GetVm() == nil {
			continue
		}
		switch h := m.departing[idOf(p)]; {
		case h != nil && h.sending && !move.GoesOn(h.p, p):
			h.cancel()
		case h == nil && len(m.departing) < maxMoves && move.Due(p, m.core) && m.core.Hold(idOf(p)):
			m.depart(p)
		}
	}
}

// depart does the next thing about a machine that is held.
func (m *mover) depart(p *skerryv1.Placement) {
	h := &handover{mover: m, p: p}
	m.departing[idOf(p)] = h
	m.after(m.takes(listTime), func() {
		state, err := m.state(idOf(p))
		if err != nil {
			h.end()
			return
		}
		switch move.StepOf(p, state) {
		case move.Send:
			h.send()
		case move.Ask:
			h.ask()
		case move.Settle:
			m.settle(p)
			h.end()
		default:
			h.end()
		}
	})
}

// state of an instance on this node; 0 when there is none.
func (m *mover) state(id string) (runtime.State, error) {
	all, err := m.host.machine.driver.List(context.Background())
	for _, i := range all {
		if i.ID == id && i.Paused {
			return runtime.Unknown, err
		}
		if i.ID == id {
			return i.State, err
		}
	}
	return 0, err
}

// settle: it is this node's again.
func (m *mover) settle(p *skerryv1.Placement) bool {
	err := m.host.machine.driver.Settle(context.Background(), idOf(p))
	if err != nil {
		m.world.trace.note(m.host.name, "%s, which was not taken over, does not go on yet: %v", idOf(p), err)
	}
	return err == nil
}

// letGo of an instance that was held.
func (m *mover) letGo(id string) {
	m.core.Release(id)
	m.look()
	m.step()
}

// handover of one machine by the node that it leaves.
type handover struct {
	*mover
	p         *skerryv1.Placement
	departure runtime.Departure
	line      *line
	// sending, and not only asking; left: the other node may run it; deaf: the line broke
	// while it was copied, which nobody has seen yet; over: nothing is done any more.
	sending, left, deaf, over bool
}

// end it, whatever came of it.
func (h *handover) end() {
	if h.over {
		return
	}
	h.over = true
	if h.line != nil {
		h.line.hangUp(0)
	}
	if h.departure != nil {
		h.departure.Close()
	}
	delete(h.departing, idOf(h.p))
	h.letGo(idOf(h.p))
}

// fails: it stays where it is.
func (h *handover) fails(why string) {
	if h.over {
		return
	}
	h.world.trace.note(h.host.name, "%s stays: %s", idOf(h.p), why)
	h.core.MoveFailed(idOf(h.p), h.p.GetMigration().GetAttempt(), why)
	h.end()
}

// cancel: it is not to move any more. What was handed over is in doubt.
func (h *handover) cancel() {
	h.world.trace.note(h.host.name, "%s is not to move any more", idOf(h.p))
	h.end()
}

// inDoubt: nobody here knows whether the other node runs it.
func (h *handover) inDoubt(why string) {
	if h.over {
		return
	}
	h.world.stats.Doubts++
	h.world.trace.note(h.host.name, "nobody knows whether %s has moved: %s", idOf(h.p), why)
	if h.world.has(ImpatientSource) {
		h.settle(h.p)
	}
	h.end()
}

// send it to the other node.
func (h *handover) send() {
	id, to := idOf(h.p), h.p.GetMigration().GetOther()
	h.sending = true
	h.world.trace.note(h.host.name, "%s moves to %s", id, to)
	departure, err := h.host.machine.driver.Depart(context.Background(), id)
	if err != nil {
		h.fails(err.Error())
		return
	}
	h.departure = departure
	h.call(to, func(l *line) {
		switch {
		case l == nil:
			h.fails(to + " does not answer")
		case h.over:
			l.hangUp(0)
		default:
			h.greet(l)
		}
	})
}

// greet the other node, which makes ready.
func (h *handover) greet(l *line) {
	h.line = l
	l.broke[0] = func() { h.fails("the other node does not answer") }
	r := &reception{mover: l.ends[1], line: l, from: h.host.name, p: h.p}
	answered := false
	r.answer = func(why string) {
		if answered = true; h.over {
			return
		}
		if why != "" {
			h.fails(why)
			return
		}
		h.copy(r)
	}
	l.say(0, 'b', r.begin)
	h.after(prepareTime, func() {
		if !answered {
			h.fails("the other node does not answer")
		}
	})
}

// copy all that it is, while it runs.
func (h *handover) copy(r *reception) {
	h.world.reached(copies, h.host, r.host)
	h.line.broke[0] = func() {
		if h.deaf = true; h.rng.IntN(2) == 0 {
			h.fails("the copy broke off")
		}
	}
	h.after(copyTime/20+time.Duration(h.rng.Int64N(int64(copyTime))), func() {
		if h.over {
			return
		}
		if h.rng.IntN(12) == 0 {
			h.fails("QEMU has given it up")
			return
		}
		h.host.machine.writes(idOf(h.p)) // to the last moment
		rest, err := h.departure.Copy(context.Background(), nil)
		if err != nil {
			h.fails(err.Error())
			return
		}
		h.after(h.takes(listTime), func() { h.leave(r, rest) })
	})
}

// leave it to the other node, whose word counts from here on.
func (h *handover) leave(r *reception, rest []byte) {
	if h.over {
		return
	}
	if err := h.departure.Leave(context.Background()); err != nil {
		h.fails(err.Error())
		return
	}
	h.left = true
	h.world.reached(hands, h.host, r.host)
	if h.world.has(HastyDelete) {
		h.host.machine.deleteOf(idOf(h.p))
	}
	if h.deaf {
		h.inDoubt("the other node does not answer")
		return
	}
	h.line.broke[0] = func() { h.inDoubt("the other node does not answer") }
	r.fate = func(fate move.Fate, why string) {
		switch {
		case h.over:
		case fate == move.Here:
			h.world.trace.note(h.host.name, "%s has moved", idOf(h.p))
			h.end()
		case fate == move.Gone:
			if err := h.departure.Stay(context.Background()); err != nil {
				why += "; " + err.Error()
			}
			h.fails(why)
		default:
			h.inDoubt(why)
		}
	}
	h.line.say(0, 'f', func() { r.finish(rest) })
	h.after(finishTime, func() { h.inDoubt("the other node is silent") })
}

// ask the other node what became of what it was handed.
func (h *handover) ask() {
	h.after(askFateTime, h.end)
	h.call(h.p.GetMigration().GetOther(), func(l *line) {
		if h.over {
			if l != nil {
				l.hangUp(0)
			}
			return
		}
		if l == nil {
			h.end()
			return
		}
		h.line = l
		l.broke[0] = h.end
		r := &reception{mover: l.ends[1], line: l, from: h.host.name, p: h.p}
		r.fate = func(fate move.Fate, why string) {
			if !h.over && fate == move.Gone && h.settle(h.p) {
				h.fails("the other node did not take it over: " + why)
			}
			h.end()
		}
		l.say(0, 'a', r.tell)
	})
}
