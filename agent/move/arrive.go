package move

import (
	"context"
	"net"
	"os"
	"time"

	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// imageTime is how long what arrives waits for its image.
const imageTime = 2 * time.Minute

// openSocket lets QEMU connect, which may run as any user.
func (m *Mover) openSocket(path string) error { return os.Chmod(path, 0o666) }

// Serve a stream of another node.
func (m *Mover) Serve(ctx context.Context, conn net.Conn, from string) {
	var greeting hello
	if conn.SetDeadline(m.Env.Clock.Now().Add(helloTime)) != nil || receive(conn, &greeting) != nil || conn.SetDeadline(time.Time{}) != nil {
		return
	}
	switch greeting.Kind {
	case begin:
		m.take(ctx, conn, from, greeting)
	case status:
		_ = send(conn, m.tell(ctx, from, greeting)) // who asked asks again
	case memory, disks:
		m.feed(ctx, conn, from, greeting)
	}
}

// order of what comes from another node; an error when nothing of the kind is to.
func (m *Mover) order(from string, h hello) error {
	return MayTake(m.now(h.Project, h.Placement), h.Placement, from, h.Attempt)
}

// await the order, which may be on its way.
func (m *Mover) await(ctx context.Context, from string, h hello) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	for {
		changed := m.Ledger.Changed()
		err := m.order(from, h)
		if err == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return err
		}
	}
}

// take a machine in.
func (m *Mover) take(ctx context.Context, conn net.Conn, from string, h hello) {
	id := reconcile.InstanceID(h.Project, h.Placement)
	err := m.await(ctx, from, h)
	if err == nil && !m.hold(ctx, id) {
		err = problem.New(problem.Conflict, id, "something else is done with it")
	}
	if err != nil {
		_ = send(conn, reply{Why: err.Error(), Gone: true})
		return
	}
	defer m.Tasks.Release(id)
	arrival, err := m.arrive(ctx, from, h)
	if err != nil {
		m.Logger.Warn("a machine could not be taken in", "instance", id, "from", from, "error", err)
		_ = send(conn, reply{Why: err.Error(), Gone: true})
		return
	}
	m.welcome(id, &guest{from: from, attempt: h.Attempt, arrival: arrival})
	defer m.part(id)
	var asked finish
	if send(conn, reply{Answer: arrival.Answer()}) != nil || receive(conn, &asked) != nil {
		arrival.Close()
		return
	}
	err = arrival.Finish(ctx, asked.Rest, func() error {
		if err := m.order(from, h); err != nil {
			return err
		}
		return m.Begin(id)
	})
	arrival.Close()
	if err == nil {
		m.Logger.Info("a machine has come", "instance", id, "from", from)
		_ = send(conn, reply{Here: true}) // who sent it hears of it by the log, too
		return
	}
	m.Logger.Warn("a machine could not be taken over", "instance", id, "from", from, "error", err)
	_ = send(conn, m.found(ctx, id, err.Error()))
}

// hold waits until nothing else is done with an instance.
func (m *Mover) hold(ctx context.Context, id string) bool {
	for end := m.Env.Clock.Elapsed() + askTime; m.Env.Clock.Elapsed() < end; {
		if m.Tasks.Hold(id) {
			return true
		}
		if env.Sleep(ctx, m.Env.Clock, lookEvery/10) != nil {
			return false
		}
	}
	return false
}

// arrive once the image is there. What holds the instance meanwhile fetches
// nothing, so it is let go in between: whatever happens then is seen, since what is
// there is removed.
func (m *Mover) arrive(ctx context.Context, from string, h hello) (runtime.Arrival, error) {
	id := reconcile.InstanceID(h.Project, h.Placement)
	for end := m.Env.Clock.Elapsed() + imageTime; ; {
		p := m.now(h.Project, h.Placement)
		state, err := m.state(ctx, id)
		if err == nil {
			err = MayBegin(p, h.Placement, from, h.Attempt, state)
		}
		if err != nil {
			return nil, err
		}
		arrival, err := m.Driver.Arrive(ctx, reconcile.SpecOf(p), h.Offer)
		if problem.KindOf(err) != problem.NotFound || m.Env.Clock.Elapsed() > end {
			return arrival, err
		}
		m.Tasks.Release(id)
		slept := env.Sleep(ctx, m.Env.Clock, lookEvery)
		if !m.hold(ctx, id) || slept != nil {
			return nil, err
		}
	}
}

func (m *Mover) welcome(id string, g *guest) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.arriving[id] = g
}

func (m *Mover) part(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.arriving, id)
}

// feed QEMU with what the other node's sends.
func (m *Mover) feed(ctx context.Context, conn net.Conn, from string, h hello) {
	m.mu.Lock()
	g := m.arriving[reconcile.InstanceID(h.Project, h.Placement)]
	m.mu.Unlock()
	if g == nil || g.from != from || g.attempt != h.Attempt {
		return
	}
	path := g.arrival.Sockets()[0]
	if h.Kind == disks {
		path = g.arrival.Sockets()[1]
	}
	local, err := m.Env.Net.Dial(ctx, "unix", path)
	if err != nil {
		m.Logger.Warn("QEMU does not take what comes", "instance", h.Placement, "error", err)
		return
	}
	join(ctx, m.Env.Clock.Now, conn, local)
}

// tell what became of an attempt.
func (m *Mover) tell(ctx context.Context, from string, h hello) reply {
	id := reconcile.InstanceID(h.Project, h.Placement)
	if !m.Tasks.Hold(id) {
		return reply{Why: "it is at it"}
	}
	defer m.Tasks.Release(id)
	if err := MayTell(m.now(h.Project, h.Placement), h.Placement, from, h.Attempt); err != nil {
		return reply{Why: err.Error()}
	}
	return m.found(ctx, id, "it had not arrived")
}

// found is what is on this node of an instance that nobody is taking in now. What
// has not finished is removed, so that it never will.
func (m *Mover) found(ctx context.Context, id, why string) reply {
	state, err := m.state(ctx, id)
	if err != nil {
		return reply{Why: err.Error()}
	}
	switch FateOf(state) {
	case Here:
		return reply{Here: true}
	case Gone:
		return reply{Gone: true, Why: why}
	case Half:
		if err := m.Driver.Remove(ctx, id); err != nil {
			return reply{Why: err.Error()}
		}
		return reply{Gone: true, Why: why}
	default:
		return reply{Why: "it is in an unknown state"}
	}
}
