package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"skerry.dev/agent/image"
	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/model"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000001"

// orders is a ledger in memory.
type orders struct {
	mu      sync.Mutex
	current *sitev1.Assignments
	changed chan struct{}
}

func (o *orders) Current() *sitev1.Assignments {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.current
}

func (o *orders) Changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

func (o *orders) give(placements ...*skerryv1.Placement) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.current = &sitev1.Assignments{
		Order: &sitev1.Order{SiteEpoch: 1}, Placements: placements,
		Images: []*sitev1.ImageSource{{Name: "web", Digest: digest, Nodes: []string{"other"}, Tickets: [][]byte{[]byte("ticket")}, Keep: true}},
		Peers:  []*sitev1.Peer{{Name: "other", Address: "192.0.2.1:7600"}},
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

// shop gives images to a model and remembers where they came from.
type shop struct {
	driver *model.Driver

	mu      sync.Mutex
	sources []image.Source
}

func (s *shop) Removed() uint64 { return 0 }

func (s *shop) Ensure(_ context.Context, digest, name string, sources []image.Source) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources = sources
	if len(sources) == 0 {
		return errors.New("no node holds it")
	}
	s.driver.AddImage(runtime.StoredImage{Name: name, Digest: digest})
	return nil
}

// noLeases are of a node on which nothing is exclusive.
type noLeases struct{}

func (noLeases) Permits() (map[string]reconcile.Permit, time.Duration) { return nil, 0 }
func (noLeases) Begin(string) (time.Duration, error)                   { return 0, nil }
func (noLeases) Present([]string)                                      {}
func (noLeases) Removing(context.Context, string)                      {}
func (noLeases) Changed() <-chan struct{}                              { return nil }

// bench is a supervisor over a model.
type bench struct {
	*Supervisor
	t      *testing.T
	orders *orders
	driver *model.Driver
	shop   *shop
}

func newBench(t *testing.T) *bench {
	t.Helper()
	system := env.NewSystem()
	driver := model.New(system.Clock)
	b := &bench{t: t, driver: driver, shop: &shop{driver: driver}, orders: &orders{changed: make(chan struct{})}}
	b.open()
	return b
}

func (b *bench) open() {
	b.Supervisor = New(Config{
		Leases: noLeases{}, Ledger: b.orders, Driver: b.driver, Images: b.shop, Env: env.NewSystem(), Logger: slog.New(slog.DiscardHandler),
	})
}

// run starts the supervisor; what is returned ends it and waits.
func (b *bench) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	b.t.Cleanup(stop)
	return stop
}

// await polls a condition until it holds, for a minute at most.
func (b *bench) await(what string, holds func() error) {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (b *bench) awaitPhase(name string, phase skerryv1.Phase) *skerryv1.PlacementStatus {
	b.t.Helper()
	var status *skerryv1.PlacementStatus
	b.await(name+" to be "+phase.String(), func() error {
		if status = b.Status("default", name); status.GetPhase() != phase {
			return fmt.Errorf("it is %v", status)
		}
		return nil
	})
	return status
}

func (b *bench) instances() []string {
	b.t.Helper()
	all, err := b.driver.List(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var ids []string
	for _, i := range all {
		ids = append(ids, fmt.Sprintf("%s %d", i.ID, i.State))
	}
	return ids
}

func placement(name string) *skerryv1.Placement {
	w := &skerryv1.Workload{
		Kind: "Workload", Name: "web", Container: &skerryv1.Container{Image: "web", Command: []string{"sleep", "1000"}},
		Restart: &skerryv1.Restart{Backoff: "100ms"}, StopGrace: "0s",
	}
	manifest.Default(w)
	return &skerryv1.Placement{
		Name: name, Project: "default", Workload: "web", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
		Spec: w, ImageDigest: digest,
	}
}

func TestWhatIsOrderedRunsAndIsRestarted(t *testing.T) {
	b := newBench(t)
	b.run()
	b.orders.give(placement("web-1"))
	b.awaitPhase("web-1", skerryv1.Phase_PHASE_RUNNING)
	b.shop.mu.Lock()
	if diff := cmp.Diff(b.shop.sources, []image.Source{{Address: "192.0.2.1:7600", Ticket: []byte("ticket")}}); diff != "" {
		t.Errorf("the image came from %v", b.shop.sources)
	}
	b.shop.mu.Unlock()
	b.driver.End("default.web-1", &skerryv1.Exit{Code: 7})
	b.await("a restart", func() error {
		status := b.Status("default", "web-1")
		if status.GetRestarts() != 1 || status.GetPhase() != skerryv1.Phase_PHASE_RUNNING {
			return fmt.Errorf("%v", status)
		}
		if status.GetLastExit().GetCode() != 7 {
			t.Fatalf("the last exit is %v", status.GetLastExit())
		}
		return nil
	})
}

func TestTheNextSupervisorAdoptsWhatRuns(t *testing.T) {
	b := newBench(t)
	stop := b.run()
	b.orders.give(placement("web-1"))
	b.awaitPhase("web-1", skerryv1.Phase_PHASE_RUNNING)
	stop()
	before := b.instances()
	b.open()
	b.run()
	if status := b.awaitPhase("web-1", skerryv1.Phase_PHASE_RUNNING); status.GetRestarts() != 0 {
		t.Errorf("it was restarted %d times", status.GetRestarts())
	}
	if after := b.instances(); !slices.Equal(before, after) {
		t.Errorf("instances were %v, are %v", before, after)
	}
}

func TestWithoutOrdersNothingIsTouched(t *testing.T) {
	b := newBench(t)
	stop := b.run()
	b.orders.give(placement("web-1"))
	b.awaitPhase("web-1", skerryv1.Phase_PHASE_RUNNING)
	stop()
	before := b.instances()
	// A ledger that knows the peers but has never seen an order.
	b.orders = &orders{changed: make(chan struct{}), current: &sitev1.Assignments{}}
	b.open()
	b.run()
	looked := b.Changed()
	select {
	case <-looked:
	case <-time.After(time.Minute):
		t.Fatal("it does not look")
	}
	poke(b.wake)
	if after := b.instances(); !slices.Equal(before, after) {
		t.Errorf("instances were %v, are %v", before, after)
	}
}

func TestWhatIsNotOrderedAnyMoreGoes(t *testing.T) {
	b := newBench(t)
	b.run()
	b.orders.give(placement("web-1"), placement("web-2"))
	b.awaitPhase("web-1", skerryv1.Phase_PHASE_RUNNING)
	b.awaitPhase("web-2", skerryv1.Phase_PHASE_RUNNING)
	ending := placement("web-1")
	ending.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
	b.orders.give(ending, placement("web-2"))
	b.await("the report that it is gone", func() error {
		for _, report := range b.Reports() {
			if report.GetPlacement() == "web-1" && report.GetGone() {
				return nil
			}
		}
		return fmt.Errorf("%v", b.Reports())
	})
	b.orders.give(placement("web-2"))
	b.await("one instance", func() error {
		if ids := b.instances(); len(ids) != 1 {
			return fmt.Errorf("%v", ids)
		}
		return nil
	})
}

// slow is a runtime whose lists are old when they arrive.
type slow struct {
	*model.Driver
	list func()
}

func (s slow) List(ctx context.Context) ([]runtime.Instance, error) {
	instances, err := s.Driver.List(ctx)
	s.list()
	return instances, err
}

func TestAnOldListDoesNotUndoAStart(t *testing.T) {
	b := newBench(t)
	b.Driver = slow{b.driver, func() { time.Sleep(20 * time.Millisecond) }}
	b.run()
	names := []string{"web-1", "web-2", "web-3", "web-4"}
	var all []*skerryv1.Placement
	for _, name := range names {
		all = append(all, placement(name))
		b.orders.give(all...)
		poke(b.look)
		b.awaitPhase(name, skerryv1.Phase_PHASE_RUNNING)
	}
	for range 5 {
		changed := b.Changed()
		poke(b.look)
		<-changed
	}
	for _, name := range names {
		if status := b.Status("default", name); status.GetRestarts() != 0 {
			t.Errorf("%s: %v", name, status)
		}
	}
}

func TestARuntimeThatDoesNotAnswerIsTrouble(t *testing.T) {
	b := newBench(t)
	var failure atomic.Pointer[error]
	b.driver.Fail = func(string, string) error {
		if err := failure.Load(); err != nil {
			return *err
		}
		return nil
	}
	b.run()
	b.orders.give(placement("web-1"))
	b.awaitPhase("web-1", skerryv1.Phase_PHASE_RUNNING)
	fail := func(err error) {
		failure.Store(&err)
		poke(b.look)
	}
	fail(errors.New("containerd does not answer"))
	b.await("trouble", func() error {
		if b.Trouble() == "" {
			return errors.New("there is none")
		}
		return nil
	})
	fail(nil)
	b.await("the end of trouble", func() error {
		if trouble := b.Trouble(); trouble != "" {
			return errors.New(trouble)
		}
		return nil
	})
	if status := b.Status("default", "web-1"); status.GetRestarts() != 0 || status.GetPhase() != skerryv1.Phase_PHASE_RUNNING {
		t.Errorf("%v", status)
	}
}
