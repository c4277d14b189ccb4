// Package supervisor carries out what agent/reconcile decides: it looks at the
// runtime, performs actions, runs health checks, and makes known how the
// node's placements are. Stopping it touches nothing that runs.
package supervisor

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/image"
	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

const (
	// lookEvery is how often the truth is looked at when nothing hints at a
	// change.
	lookEvery   = 5 * time.Second
	listTimeout = 10 * time.Second
	// actionTimeout bounds one action; a stop has its grace on top.
	actionTimeout = 2 * time.Minute
	fetchTimeout  = 30 * time.Minute
	// rewatch is the pause before the runtime is watched again.
	rewatch = time.Second
)

// Ledger is what should run.
type Ledger interface {
	Current() *sitev1.Assignments
	Changed() <-chan struct{}
}

// Images makes an image present on this node.
type Images interface {
	// Ensure fetches what is missing from the sources, host:port.
	Ensure(ctx context.Context, digest, name string, sources []image.Source) error
	// Removed rises when images are removed from this node, or might be.
	Removed() uint64
}

// Leases say what is exclusive may run.
type Leases interface {
	// Permits for all exclusive placements among the orders, and after how long to
	// ask again at the latest; 0 for when something changes.
	Permits() (map[string]reconcile.Permit, time.Duration)
	// Begin is asked before an instance is started. It returns until when, on
	// elapsed time, the start must have come to its end, 0 for no such time; an
	// error when it must not be started.
	Begin(id string) (time.Duration, error)
	// Removing tells that an instance is about to be stopped or removed.
	Removing(ctx context.Context, id string)
	// Present tells which instances are on this node.
	Present(ids []string)
	// Changed is closed at the next change of permits.
	Changed() <-chan struct{}
}

// Config of a supervisor. All fields are required.
type Config struct {
	Leases Leases
	Ledger Ledger
	Driver runtime.Driver
	Images Images
	// Refused is told what this node was ordered to start and must not.
	Refused func(reconcile.Refusal)
	// Secrets opens what containers name.
	Secrets Secrets
	Env     env.System
	Logger  *slog.Logger
}

// Supervisor keeps running what should run.
type Supervisor struct {
	Config

	mu      sync.Mutex
	core    *reconcile.Core
	looked  bool   // what was there before this agent is known
	trouble string // why the runtime cannot be looked at; empty when it can
	changed chan struct{}
	deleted chan struct{}

	wake chan struct{}
	look chan struct{}
}

// New returns a supervisor; Run makes it act.
func New(config Config) *Supervisor {
	return &Supervisor{
		Config:  config,
		core:    reconcile.New(),
		changed: make(chan struct{}),
		deleted: make(chan struct{}),
		wake:    make(chan struct{}, 1),
		look:    make(chan struct{}, 1),
	}
}

// Reports are how all placements of this node are.
func (s *Supervisor) Reports() []*sitev1.PlacementReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Reports()
}

// Status of one placement; nil when it is not here.
func (s *Supervisor) Status(project, name string) *skerryv1.PlacementStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Status(project, name)
}

// Trouble says why the runtime cannot be looked at; empty when it can.
func (s *Supervisor) Trouble() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble
}

// Changed is closed when reports or trouble may have changed.
func (s *Supervisor) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// announce needs mu.
func (s *Supervisor) announce() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run supervises until ctx ends, and waits for the actions under way.
func (s *Supervisor) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.watch(ctx) })
	group.Go(func() error { return s.lookLoop(ctx) })
	group.Go(func() error { return s.stepLoop(ctx) })
	group.Go(func() error { return s.keepLoop(ctx) })
	group.Go(func() error { return s.secretLoop(ctx) })
	group.Go(func() error { return s.volumeLoop(ctx) })
	return group.Wait()
}

// watch listens to the runtime's hints, again and again.
func (s *Supervisor) watch(ctx context.Context) error {
	for {
		err := s.Driver.Watch(ctx, func(string) { poke(s.look) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.Logger.Debug("the runtime is not watched", "error", err)
		poke(s.look)
		if err := env.Sleep(ctx, s.Env.Clock, rewatch); err != nil {
			return err
		}
	}
}

// lookLoop looks at the truth when something hints at a change, and now and
// then.
func (s *Supervisor) lookLoop(ctx context.Context) error {
	timer := s.Env.Clock.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		s.lookNow(ctx)
		timer.Reset(lookEvery)
		select {
		case <-s.look:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Supervisor) lookNow(ctx context.Context) {
	listCtx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	// The list may be older than the end of an action.
	s.mu.Lock()
	s.core.Looking()
	s.mu.Unlock()
	instances, err := s.Driver.List(listCtx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	trouble := ""
	if err != nil {
		trouble = err.Error()
	} else {
		s.permit()
		s.core.Observe(instances, s.Env.Clock.Elapsed())
		s.looked = true
		s.tellPresent(instances)
	}
	if trouble != s.trouble {
		if trouble != "" {
			s.Logger.Warn("the runtime does not answer; what runs goes on running", "error", trouble)
		} else {
			s.Logger.Info("the runtime answers again")
		}
		s.trouble = trouble
	}
	s.announce()
	poke(s.wake)
}

// permit takes over what leases allow now. It needs mu.
func (s *Supervisor) permit() time.Duration {
	permits, wake := s.Leases.Permits()
	s.core.Permit(permits)
	return wake
}

func (s *Supervisor) tellPresent(instances []runtime.Instance) {
	ids := make([]string, 0, len(instances))
	for _, instance := range instances {
		ids = append(ids, instance.ID)
	}
	s.Leases.Present(ids)
}

// stepLoop asks the core what to do and does it, one goroutine an action; the
// core bounds their number.
func (s *Supervisor) stepLoop(ctx context.Context) error {
	var actions sync.WaitGroup
	defer actions.Wait()
	timer := s.Env.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		ledgerChanged, leasesChanged := s.Ledger.Changed(), s.Leases.Changed()
		todo, wait := s.step()
		for _, action := range todo {
			actions.Go(func() { s.perform(ctx, action) })
		}
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-ledgerChanged:
		case <-leasesChanged:
		case <-s.wake:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Supervisor) step() ([]reconcile.Action, time.Duration) {
	orders := s.Ledger.Current()
	s.mu.Lock()
	defer s.mu.Unlock()
	if orders.GetOrder() != nil {
		s.core.Locate(orders.GetRecord())
		s.core.Desire(orders.GetPlacements())
	}
	if !s.looked || s.trouble != "" {
		return nil, 0 // looking again goes on by itself
	}
	ends := s.permit()
	actions, wait := s.core.Step(s.Env.Clock.Elapsed())
	if wait == 0 || (ends != 0 && ends < wait) {
		wait = ends
	}
	for _, refusal := range s.core.Refused() {
		s.Refused(refusal)
	}
	return actions, wait
}

func (s *Supervisor) perform(ctx context.Context, action reconcile.Action) {
	err := s.act(ctx, action)
	if ctx.Err() != nil {
		return // the agent stops; the next one looks at what is there
	}
	if err != nil && action.Kind != reconcile.Check {
		s.Logger.Warn("an action failed; it is tried again", "action", action.Kind.String(), "instance", action.ID, "error", err)
	}
	s.mu.Lock()
	s.core.Done(action, err, s.Env.Clock.Elapsed())
	s.announce()
	s.mu.Unlock()
	if action.Kind != reconcile.Check {
		poke(s.look)
	}
	poke(s.wake)
}

func (s *Supervisor) act(ctx context.Context, action reconcile.Action) error {
	timeout := actionTimeout + action.Grace
	if action.Kind == reconcile.Fetch {
		timeout = fetchTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch action.Kind {
	case reconcile.Fetch:
		return s.fetch(ctx, action)
	case reconcile.Prepare:
		return s.prepare(ctx, action.Spec)
	case reconcile.Start:
		return s.start(ctx, action.ID)
	case reconcile.Adjust:
		return s.adjust(ctx, action.Spec)
	case reconcile.Pause, reconcile.Resume:
		return s.halt(ctx, action)
	case reconcile.Stop:
		s.Leases.Removing(ctx, action.ID)
		return s.Driver.Stop(ctx, action.ID, action.Grace)
	case reconcile.Remove:
		s.Leases.Removing(ctx, action.ID)
		if err := s.Driver.Remove(ctx, action.ID); err != nil || !action.Final {
			return err
		}
		return s.Driver.Forget(ctx, action.ID)
	default:
		return s.check(ctx, action)
	}
}
