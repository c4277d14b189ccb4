// Package move takes running virtual machines from one node to another: it
// carries what the two libvirts say, joins the sockets of the two QEMUs through
// the one port, and sees to it that only one of the two guests acts. The source
// notes on disk that it hands over, and only then the target lets the guest run:
// from there on the source does nothing with it until the target, or the log, says
// what became of it.
package move

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/runtime"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxMoves at once, each way.
	maxMoves = 2
	// lookEvery is how often there is a look at what is to be done when nothing
	// changes.
	lookEvery = time.Second
	// finishTime bounds the switch, and askTime a question.
	finishTime = 90 * time.Second
	askTime    = 10 * time.Second
)

// Ledger is what this node is to run.
type Ledger interface {
	Current() *sitev1.Assignments
	Changed() <-chan struct{}
}

// Driver moves, and tells what is there.
type Driver interface {
	runtime.Mover
	List(ctx context.Context) ([]runtime.Instance, error)
	Remove(ctx context.Context, id string) error
}

// Tasks are the supervisor's.
type Tasks interface {
	// Hold an instance: nothing else is done to it until it is released. false: it
	// is busy.
	Hold(id string) bool
	Release(id string)
	// Tell people of an instance that is held.
	Tell(id, message string)
	// Failed notes that an attempt was not handed over.
	Failed(id string, attempt uint64, why string)
	Known
}

// Config of a mover. All fields are required.
type Config struct {
	Ledger Ledger
	Driver Driver
	Tasks  Tasks
	// Begin says whether what is exclusive may run here now.
	Begin func(id string) error
	// Dial another node, by its name.
	Dial   func(ctx context.Context, node string) (net.Conn, error)
	Env    env.System
	Logger *slog.Logger
}

// Mover moves.
type Mover struct {
	Config

	mu sync.Mutex
	// departing are on their way, by instance.
	departing map[string]bool
	// arriving are the sockets of what comes, by instance.
	arriving map[string]*guest
}

// guest is one instance that comes.
type guest struct {
	from    string
	attempt uint64
	arrival runtime.Arrival
}

// New returns a mover; Run makes it act.
func New(config Config) *Mover {
	return &Mover{Config: config, departing: map[string]bool{}, arriving: map[string]*guest{}}
}

// Run sends what is to leave until ctx ends.
func (m *Mover) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxMoves + 1)
	group.Go(func() error {
		timer := m.Env.Clock.NewTimer(0)
		defer timer.Stop()
		for {
			changed := m.Ledger.Changed()
			for _, p := range m.Ledger.Current().GetPlacements() {
				if Due(p, m.Tasks) && m.start(p) && !group.TryGo(func() error { m.depart(ctx, p); return nil }) {
					m.end(p)
				}
			}
			timer.Reset(lookEvery)
			select {
			case <-changed:
			case <-timer.C():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	return group.Wait()
}

// during ends the context when the order to move does.
func (m *Mover) during(ctx context.Context, p *skerryv1.Placement) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for {
			changed := m.Ledger.Changed()
			if !GoesOn(p, m.now(p.GetProject(), p.GetName())) {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

func (m *Mover) start(p *skerryv1.Placement) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.departing[idOf(p)] {
		return false
	}
	m.departing[idOf(p)] = true
	return true
}

func (m *Mover) end(p *skerryv1.Placement) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.departing, idOf(p))
}

// state of an instance on this node; 0 when there is none.
func (m *Mover) state(ctx context.Context, id string) (runtime.State, error) {
	all, err := m.Driver.List(ctx)
	for _, i := range all {
		if i.ID == id {
			if i.Paused {
				return runtime.Unknown, err
			}
			return i.State, err
		}
	}
	return 0, err
}

// now is the order of a placement as it is at present; nil for none.
func (m *Mover) now(project, name string) *skerryv1.Placement {
	for _, p := range m.Ledger.Current().GetPlacements() {
		if p.GetProject() == project && p.GetName() == name {
			return p
		}
	}
	return nil
}

func (m *Mover) exchange(ctx context.Context, conn net.Conn, limit time.Duration, message any) (reply, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var said reply
	if err := conn.SetDeadline(m.Env.Clock.Now().Add(limit)); err != nil {
		return said, err
	}
	if err := send(conn, message); err != nil {
		return said, err
	}
	if err := receive(conn, &said); err != nil {
		return said, problem.New(problem.Unavailable, "move", "the other node does not answer: %w", err)
	}
	return said, conn.SetDeadline(time.Time{})
}
