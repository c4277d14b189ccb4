package move

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"skerry.dev/agent/runtime"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// end is one node: what it holds, and what may go wrong there.
type end struct {
	t    *testing.T
	name string
	dir  string
	*Mover

	mu      sync.Mutex
	state   runtime.State
	held    bool
	holds   int
	failed  uint64
	why     string
	order   *skerryv1.Placement
	changed chan struct{}

	// noLease: what comes may not run here. mute: the answer to finish gets lost.
	noLease, mute bool
	// unreachable: nobody gets through.
	unreachable bool
}

func newEnd(t *testing.T, name string, state runtime.State) *end {
	e := &end{t: t, name: name, dir: t.TempDir(), state: state, changed: make(chan struct{})}
	system := env.NewSystem()
	e.Mover = New(Config{
		Ledger: e, Driver: e, Tasks: e, Env: system, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Begin: func(string) error {
			if e.noLease {
				return errors.New("no lease")
			}
			return nil
		},
	})
	return e
}

// Current implements Ledger.
func (e *end) Current() *sitev1.Assignments {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.order == nil {
		return &sitev1.Assignments{}
	}
	return &sitev1.Assignments{Placements: []*skerryv1.Placement{e.order}}
}

func (e *end) Changed() <-chan struct{} { return e.changed }

func (e *end) set(state runtime.State) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state = state
}

func (e *end) now() runtime.State {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.state
}

// Tasks.
func (e *end) Hold(string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.held
	e.held = true
	e.holds++
	return !was
}
func (e *end) asked() int          { e.mu.Lock(); defer e.mu.Unlock(); return e.holds }
func (e *end) Release(string)      { e.mu.Lock(); e.held = false; e.mu.Unlock() }
func (e *end) Tell(string, string) {}
func (e *end) Failed(_ string, attempt uint64, why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failed, e.why = attempt, why
}
func (e *end) HasFailed(_ string, attempt uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failed == attempt
}
func (e *end) IsLeaving(string) bool { return e.now() == runtime.Leaving }

// Driver.
func (e *end) List(context.Context) ([]runtime.Instance, error) {
	if state := e.now(); state != 0 {
		return []runtime.Instance{{ID: "p.vm-1", State: state}}, nil
	}
	return nil, nil
}
func (e *end) Remove(context.Context, string) error { e.set(0); return nil }
func (e *end) Settle(context.Context, string) error { e.set(runtime.Running); return nil }
func (e *end) Depart(context.Context, string) (runtime.Departure, error) {
	return &leaving{e}, nil
}
func (e *end) Arrive(context.Context, runtime.Spec, []byte) (runtime.Arrival, error) {
	e.set(runtime.Broken)
	for _, path := range (&coming{end: e}).Sockets() {
		listener, err := net.Listen("unix", path)
		if err != nil {
			return nil, err
		}
		e.t.Cleanup(func() { _ = listener.Close() })
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buffer := make([]byte, 5)
			_, _ = conn.Read(buffer)
			_, _ = conn.Write(buffer)
		}()
	}
	return &coming{end: e}, nil
}

type leaving struct{ *end }

func (l *leaving) Offer() []byte { return []byte("offer") }
func (l *leaving) Sockets() []string {
	return []string{filepath.Join(l.dir, "m"), filepath.Join(l.dir, "d")}
}

// Copy sends a word each way on each socket.
func (l *leaving) Copy(context.Context, []byte) ([]byte, error) {
	for _, path := range l.Sockets() {
		conn, err := net.Dial("unix", path)
		if err != nil {
			return nil, err
		}
		word := make([]byte, 5)
		_, err = conn.Write([]byte("pages"))
		if err == nil {
			_, err = conn.Read(word)
		}
		_ = conn.Close()
		if err != nil || string(word) != "pages" {
			return nil, errors.Join(errors.New("the line broke"), err)
		}
	}
	return []byte("rest"), nil
}
func (l *leaving) Progress() int               { return 50 }
func (l *leaving) Leave(context.Context) error { l.set(runtime.Leaving); return nil }
func (l *leaving) Stay(context.Context) error  { l.set(runtime.Running); return nil }
func (l *leaving) Close()                      {}

type coming struct {
	*end
	finished bool
}

func (c *coming) Answer() []byte { return []byte("answer") }
func (c *coming) Sockets() []string {
	return []string{filepath.Join(c.dir, "tm"), filepath.Join(c.dir, "td")}
}
func (c *coming) Finish(_ context.Context, rest []byte, may func() error) error {
	if err := may(); err != nil {
		return err
	}
	if string(rest) != "rest" {
		return errors.New("it was not given the rest")
	}
	c.finished = true
	c.set(runtime.Running)
	return nil
}
func (c *coming) Close() {
	if !c.finished {
		c.set(0)
	}
}

// lossy loses what is written after a while.
type lossy struct {
	net.Conn
	lose func() bool
}

func (l lossy) Write(p []byte) (int, error) {
	if l.lose() {
		_ = l.Close()
		return 0, net.ErrClosed
	}
	return l.Conn.Write(p)
}

// pair of nodes, the first of which has the machine and is to send it.
func pair(t *testing.T, change func(source, target *end)) (source, target *end) {
	t.Helper()
	source, target = newEnd(t, "n1", runtime.Running), newEnd(t, "n2", 0)
	order := func(incoming bool) *skerryv1.Placement {
		return &skerryv1.Placement{
			Project: "p", Name: "vm-1", Node: "n1", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Spec: &skerryv1.Workload{Vm: &skerryv1.VirtualMachine{}},
			Migration: &skerryv1.Migration{State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: "n2", Attempt: 7, Incoming: incoming},
		}
	}
	source.order, target.order = order(false), order(true)
	var served sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	source.Mover.Dial = func(context.Context, string) (net.Conn, error) {
		target.mu.Lock()
		defer target.mu.Unlock()
		if target.unreachable {
			return nil, errors.New("it is out of reach")
		}
		here, there := net.Pipe()
		served.Go(func() {
			defer func() { _ = there.Close() }()
			stop := context.AfterFunc(ctx, func() { _ = there.Close() })
			defer stop()
			target.Serve(ctx, lossy{there, func() bool { return target.mute && target.now() == runtime.Running }}, "n1")
		})
		return here, nil
	}
	if change != nil {
		change(source, target)
	}
	ended := make(chan error, 1)
	t.Cleanup(func() { cancel(); <-ended; served.Wait() })
	go func() { ended <- source.Run(ctx) }()
	return source, target
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is not so that %s", what)
		}
	}
}

func TestAMachineGoesToTheOtherNode(t *testing.T) {
	source, target := pair(t, nil)
	await(t, "it runs on the other node alone", func() bool { return target.now() == runtime.Running && source.now() == runtime.Leaving })
	if source.HasFailed("p.vm-1", 7) {
		t.Errorf("it failed: %s", source.why)
	}
}

func TestAMachineThatMayNotRunThereStays(t *testing.T) {
	source, target := pair(t, func(_, target *end) { target.noLease = true })
	await(t, "it is said to have failed", func() bool { return source.HasFailed("p.vm-1", 7) })
	if source.now() != runtime.Running || target.now() != 0 {
		t.Errorf("here it is in state %d, there in %d", source.now(), target.now())
	}
}

// The answer to the one question that matters gets lost: nothing is done here until
// the other node says what became of it.
func TestWhatMayRunThereIsLeftAlone(t *testing.T) {
	source, target := pair(t, func(_, target *end) { target.mute = true })
	await(t, "it runs there", func() bool { return target.now() == runtime.Running })
	time.Sleep(2 * lookEvery) // it is asked meanwhile, in vain
	if source.now() != runtime.Leaving || source.HasFailed("p.vm-1", 7) {
		t.Errorf("here it is in state %d, and is said to have failed: %v", source.now(), source.HasFailed("p.vm-1", 7))
	}
}

func TestWhatNeverArrivedGoesOn(t *testing.T) {
	source, target := pair(t, func(source, target *end) {
		target.unreachable = true
		source.state = runtime.Leaving // as after a restart in the middle of it
	})
	time.Sleep(lookEvery)
	if source.now() != runtime.Leaving {
		t.Errorf("while nobody knows it is in state %d", source.now())
	}
	target.set(runtime.Broken) // what was half taken in
	target.mu.Lock()
	target.unreachable = false
	target.mu.Unlock()
	await(t, "it goes on here and is said to have failed", func() bool { return source.now() == runtime.Running && source.HasFailed("p.vm-1", 7) })
	if target.now() != 0 {
		t.Errorf("there it is in state %d", target.now())
	}
}

// It came, the site heard of it and had it ended: that nothing of it is there does not say
// that it never came.
func TestWhatWasEndedThereIsNotTakenBack(t *testing.T) {
	for name, order := range map[string]func(*skerryv1.Placement) *skerryv1.Placement{
		"nothing is ordered there any more": func(*skerryv1.Placement) *skerryv1.Placement { return nil },
		"it is to end there": func(p *skerryv1.Placement) *skerryv1.Placement {
			p.Node, p.Migration, p.Desired = "n2", nil, skerryv1.DesiredState_DESIRED_STATE_STOP
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, target := pair(t, func(source, target *end) {
				source.state, target.order = runtime.Leaving, order(target.order)
			})
			await(t, "it is asked", func() bool { return target.asked() > 1 || source.now() != runtime.Leaving })
			if source.now() != runtime.Leaving {
				t.Errorf("here it is in state %d", source.now())
			}
		})
	}
}

// One that is to end is asked for only where its volumes may have gone with it.
func TestWhatIsToEndIsAskedForWithItsVolumes(t *testing.T) {
	for _, disks := range [][]*skerryv1.Disk{nil, {{Name: "data", Volume: "data"}}} {
		source, _ := pair(t, func(source, target *end) {
			source.state, target.state = runtime.Leaving, runtime.Broken
			source.order.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
			source.order.Spec.Vm.Disks = disks
		})
		if disks == nil {
			time.Sleep(lookEvery)
			if source.now() != runtime.Leaving {
				t.Errorf("without volumes it is in state %d", source.now())
			}
			continue
		}
		await(t, "it goes on here and is said to have failed", func() bool { return source.now() == runtime.Running && source.HasFailed("p.vm-1", 7) })
	}
}

// An attempt that was begun, and waits for its turn while the source begins it once more and
// hands the machine over, must not remove what has come.
func TestABeginThatComesLateLeavesWhatHasComeAlone(t *testing.T) {
	_, target := pair(t, func(source, target *end) {
		source.state = runtime.Exited // it sends nothing by itself
		target.held = true
	})
	here, there := net.Pipe()
	begun := make(chan struct{})
	go func() {
		defer close(begun)
		target.Serve(t.Context(), there, "n1")
	}()
	defer func() { _, _ = here.Close(), there.Close(); <-begun }()
	if err := send(here, hello{Kind: begin, Project: "p", Placement: "vm-1", Attempt: 7}); err != nil {
		t.Fatal(err)
	}
	await(t, "it waits for its turn", func() bool { return target.asked() > 1 })
	target.set(runtime.Running) // by the second one
	target.Release("p.vm-1")
	var said reply
	if err := receive(here, &said); err != nil || said.Why == "" {
		t.Errorf("it says %+v, %v", said, err)
	}
	if state := target.now(); state != runtime.Running {
		t.Errorf("what has come is in state %d", state)
	}
}

func TestStreamsOfOthersAreNotTaken(t *testing.T) {
	_, target := pair(t, nil)
	for name, greeting := range map[string]hello{
		"another attempt":   {Kind: begin, Project: "p", Placement: "vm-1", Attempt: 6},
		"another placement": {Kind: begin, Project: "p", Placement: "vm-2", Attempt: 7},
	} {
		if err := target.Mover.order("n1", greeting); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := target.Mover.order("n3", hello{Kind: begin, Project: "p", Placement: "vm-1", Attempt: 7}); err == nil {
		t.Error("it is taken from any node")
	}
}
