package move

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// prepareTime bounds what the target does before the copy; it may have to fetch
// the image.
const prepareTime = imageTime + time.Minute

// depart does the next thing about a machine of this node that moves, or has moved.
func (m *Mover) depart(ctx context.Context, p *skerryv1.Placement) {
	defer m.end(p)
	id := idOf(p)
	if !m.Tasks.Hold(id) {
		return
	}
	defer m.Tasks.Release(id)
	state, err := m.state(ctx, id)
	if err != nil {
		m.Logger.Warn("it is not known what became of a machine that moves", "instance", id, "error", err)
		return
	}
	switch StepOf(p, state) {
	case Ask:
		m.ask(ctx, p)
	case Settle:
		m.settle(ctx, id)
	case Send:
		m.send(ctx, p)
	}
}

// ask the other node what became of what it was handed. As long as it does not
// say, nobody knows, and nothing happens here.
func (m *Mover) ask(ctx context.Context, p *skerryv1.Placement) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := m.dial(ctx, p.GetMigration().GetOther())
	if err != nil {
		m.Tasks.Tell(idOf(p), "it was handed to "+p.GetMigration().GetOther()+", which does not say whether it runs there")
		return
	}
	defer func() { _ = conn.Close() }()
	said, err := m.exchange(ctx, conn, askTime, hello{
		Kind: status, Project: p.GetProject(), Placement: p.GetName(), Attempt: p.GetMigration().GetAttempt(),
	})
	if err == nil && said.Gone && m.settle(ctx, idOf(p)) {
		m.Tasks.Failed(idOf(p), p.GetMigration().GetAttempt(), "the other node did not take it over: "+said.Why)
	}
}

// settle: it is this node's again.
func (m *Mover) settle(ctx context.Context, id string) bool {
	err := m.Begin(id)
	if err == nil {
		err = m.Driver.Settle(ctx, id)
	}
	if err != nil {
		m.Logger.Warn("a machine that was not taken over does not go on yet", "instance", id, "error", err)
	}
	return err == nil
}

// send one machine to the other node.
func (m *Mover) send(ctx context.Context, p *skerryv1.Placement) {
	id, attempt := idOf(p), p.GetMigration().GetAttempt()
	ctx, cancel := m.during(ctx, p)
	defer cancel()
	m.Logger.Info("a machine moves", "instance", id, "to", p.GetMigration().GetOther())
	inDoubt, err := m.hand(ctx, p)
	switch {
	case err == nil:
		m.Logger.Info("a machine has moved", "instance", id, "to", p.GetMigration().GetOther())
		m.Tasks.Tell(id, "it runs on "+p.GetMigration().GetOther())
	case inDoubt:
		m.Logger.Warn("it is not known whether a machine has moved; the other node is asked", "instance", id, "error", err)
	case ctx.Err() == nil:
		m.Logger.Warn("a machine stays where it is", "instance", id, "error", err)
		m.Tasks.Failed(id, attempt, err.Error())
	}
}

// hand a machine over. inDoubt: nobody here knows whether the other node runs it.
func (m *Mover) hand(ctx context.Context, p *skerryv1.Placement) (inDoubt bool, err error) {
	id, to := idOf(p), p.GetMigration().GetOther()
	departure, err := m.Driver.Depart(ctx, id)
	if err != nil {
		return false, err
	}
	defer departure.Close()
	conn, err := m.dial(ctx, to)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	greeting := hello{Kind: begin, Project: p.GetProject(), Placement: p.GetName(), Attempt: p.GetMigration().GetAttempt(), Offer: departure.Offer()}
	said, err := m.exchange(ctx, conn, prepareTime, greeting)
	if err == nil && said.Why != "" {
		err = errors.New(said.Why)
	}
	if err != nil {
		return false, err
	}
	rest, err := m.copy(ctx, p, departure, greeting, said.Answer)
	if err != nil {
		return false, err
	}
	if err := departure.Leave(ctx); err != nil {
		return false, err
	}
	// From here on only the other node knows, until it says so.
	said, err = m.exchange(ctx, conn, finishTime, finish{Rest: rest})
	switch {
	case err != nil:
		return true, err
	case said.Here:
		return false, nil
	case !said.Gone:
		return true, errors.New(said.Why)
	}
	return false, errors.Join(errors.New(said.Why), departure.Stay(ctx))
}

// dial another node, for so long as a question takes.
func (m *Mover) dial(ctx context.Context, node string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return m.Dial(ctx, node)
}

// copy all that it is, through streams that are joined to the other node's.
func (m *Mover) copy(ctx context.Context, p *skerryv1.Placement, departure runtime.Departure, greeting hello, answer []byte) ([]byte, error) {
	group, streams := errgroup.WithContext(ctx)
	streams, stop := context.WithCancel(streams)
	greeting.Offer = nil
	for i, path := range departure.Sockets() {
		listener, err := m.Env.Net.Listen(streams, "unix", path)
		if err == nil {
			err = m.openSocket(path)
		}
		if err != nil {
			stop()
			return nil, errors.Join(err, group.Wait())
		}
		hello := greeting
		hello.Kind = []string{memory, disks}[i]
		context.AfterFunc(streams, func() { _ = listener.Close() })
		group.Go(func() error { m.carry(streams, listener, p.GetMigration().GetOther(), hello); return nil })
	}
	group.Go(func() error { m.tellProgress(streams, p, departure); return nil })
	rest, err := departure.Copy(ctx, answer)
	stop()
	return rest, errors.Join(err, group.Wait())
}

// carry what connects to a socket here to the other node.
func (m *Mover) carry(ctx context.Context, listener net.Listener, to string, greeting hello) {
	var group errgroup.Group
	defer func() { _ = group.Wait() }() // they return no errors
	for {
		local, err := listener.Accept()
		if err != nil {
			return
		}
		group.Go(func() error {
			remote, err := m.dial(ctx, to)
			if err != nil {
				_ = local.Close()
				return nil
			}
			if err := send(remote, greeting); err != nil {
				_, _ = local.Close(), remote.Close()
				return nil
			}
			join(ctx, m.Env.Clock.Now, local, remote)
			return nil
		})
	}
}

// tellProgress now and then, for people.
func (m *Mover) tellProgress(ctx context.Context, p *skerryv1.Placement, departure runtime.Departure) {
	for {
		const quarter = 25
		m.Tasks.Tell(idOf(p), fmt.Sprintf("it is copied to %s while it runs: %d %%", p.GetMigration().GetOther(), departure.Progress()/quarter*quarter))
		if env.Sleep(ctx, m.Env.Clock, lookEvery) != nil {
			return
		}
	}
}
