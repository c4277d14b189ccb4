// Package model is a driver in memory, for simulations and for tests of what
// stands on drivers. It passes the drivers' suite.
//
// It has no goroutines and no randomness of its own, and takes its time from a
// clock: the same calls give the same answers. What it runs are the programs
// of testimage that the suite uses; any other command runs until it is stopped.
package model

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// maxEnds bounds what a watcher may fall behind.
const maxEnds = 1024

// Driver is one node's runtime. It outlives the agent that uses it: the next
// agent gets the same one. It is safe for concurrent use.
type Driver struct {
	// Fail, if set, is asked before each verb of Driver, `prepare`, `start`,
	// `stop`, `remove`, `list`; its error becomes the verb's.
	Fail func(verb, id string) error
	// Changed, if set, is told each change of state. It must not call the
	// driver.
	// A machine whose guest is halted by a move is told as Leaving.
	Changed func(id string, state runtime.State)
	// Careless: what came with a machine is not brought to the disk before its guest
	// goes on. To show what that leads to.
	Careless bool

	clock env.Clock

	mu        sync.Mutex
	instances map[string]*instance
	addresses int
	processes int
	logs      map[string][]byte
	store     store
	volumes   map[volumeKey]*volume
	// ends of instances that nobody asked for; dropped are no longer kept.
	ends    []string
	dropped int
	// news is closed when something changed.
	news chan struct{}
}

type instance struct {
	runtime.Instance
	image   string
	program program
	secrets runtime.Secrets
	endsAt  time.Duration
	env     map[string]string
	pid     int
	machine
}

var (
	_ runtime.Driver       = (*Driver)(nil)
	_ runtime.SecretKeeper = (*Driver)(nil)
	_ runtime.ImageStore   = (*Driver)(nil)
	_ runtime.Attester     = (*Driver)(nil)
)

// New returns the runtime of an empty node.
func New(clock env.Clock) *Driver {
	return &Driver{
		clock: clock, instances: map[string]*instance{}, logs: map[string][]byte{}, store: newStore(), volumes: map[volumeKey]*volume{}, news: make(chan struct{}),
	}
}

// End ends a running instance by itself; nil for an end that nobody saw.
// Nothing happens when it does not run.
func (d *Driver) End(id string, exit *skerryv1.Exit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.endBySelf(d.instances[id], exit)
}

// PowerCut ends all that runs so that nobody sees how, and takes away what a
// start would need.
func (d *Driver) PowerCut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(d.instances)) {
		i := d.instances[id]
		d.endBySelf(i, nil)
		if i.State == runtime.Prepared {
			d.change(i, runtime.Broken)
		}
		i.halted = false // Leaving, and off
	}
	d.loseUnsynced()
}

// Break leaves what a crash in the middle of a Prepare leaves.
func (d *Driver) Break(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.instances[id] = &instance{Instance: runtime.Instance{ID: id}}
	d.change(d.instances[id], runtime.Broken)
}

// Run does nothing: nothing must be done now and then.
func (d *Driver) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// enter begins a verb: what has ended by now has ended.
func (d *Driver) enter(ctx context.Context, verb, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.Fail != nil {
		if err := d.Fail(verb, id); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.settle()
	return nil
}

// settle ends what is due. It needs mu, as all below do.
func (d *Driver) settle() {
	now := d.clock.Elapsed()
	for _, id := range slices.Sorted(maps.Keys(d.instances)) {
		if i := d.instances[id]; i.State == runtime.Running && i.program.ends && i.endsAt <= now {
			d.endBySelf(i, &skerryv1.Exit{Code: i.program.code})
		}
	}
}

func (d *Driver) endBySelf(i *instance, exit *skerryv1.Exit) {
	if i == nil || i.State != runtime.Running {
		return
	}
	d.ends = append(d.ends, i.ID)
	if len(d.ends) > maxEnds {
		d.ends, d.dropped = d.ends[1:], d.dropped+1
	}
	d.end(i, exit)
}

func (d *Driver) end(i *instance, exit *skerryv1.Exit) {
	if exit != nil {
		exit = proto.CloneOf(exit)
		if exit.GetAt() == nil {
			exit.At = timestamppb.New(d.clock.Now())
		}
	}
	i.Exit = exit
	d.change(i, runtime.Exited)
}

func (d *Driver) change(i *instance, state runtime.State) {
	i.State = state
	if state == runtime.Exited || state == runtime.Broken {
		i.secrets, i.halted = runtime.Secrets{}, false // they were in memory
	}
	if d.Changed != nil {
		d.Changed(i.ID, state)
	}
	d.announce()
}

func (d *Driver) announce() {
	close(d.news)
	d.news = make(chan struct{})
}

// List returns everything that was made and not removed.
func (d *Driver) List(ctx context.Context) ([]runtime.Instance, error) {
	if err := d.enter(ctx, "list", ""); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	var all []runtime.Instance
	for _, i := range d.instances {
		told := i.Instance
		told.Paused = i.halted && i.State == runtime.Running
		all = append(all, told)
	}
	slices.SortFunc(all, func(a, b runtime.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// Prepare makes an instance.
func (d *Driver) Prepare(ctx context.Context, spec runtime.Spec) error {
	if err := d.enter(ctx, "prepare", spec.ID); err != nil {
		return err
	}
	defer d.mu.Unlock()
	if old := d.instances[spec.ID]; old != nil && old.State != runtime.Broken {
		if old.SpecHash != spec.Hash() {
			return problem.New(problem.Conflict, spec.ID, "it exists with another specification")
		}
		return nil
	}
	if !d.store.present(spec.ImageDigest) {
		return problem.New(problem.NotFound, "Image/"+spec.ImageDigest, "it is not on this node")
	}
	if err := d.takeVolumes(spec); err != nil {
		return err
	}
	i := d.newInstance(spec)
	d.instances[spec.ID] = i
	if d.logs[spec.ID] == nil {
		d.logs[spec.ID] = []byte{}
	}
	d.change(i, runtime.Prepared)
	return nil
}

// Start starts a prepared instance.
func (d *Driver) Start(ctx context.Context, id string) error {
	if err := d.enter(ctx, "start", id); err != nil {
		return err
	}
	defer d.mu.Unlock()
	i := d.instances[id]
	switch {
	case i == nil:
		return problem.New(problem.NotFound, id, "it is not prepared on this node")
	case i.State == runtime.Running:
		return nil
	case i.State != runtime.Prepared:
		return problem.New(problem.Conflict, id, "it cannot be started any more").WithHint("remove it first")
	}
	d.processes++
	i.StartedAt, i.pid = d.clock.Now(), d.processes
	i.endsAt = d.clock.Elapsed() + i.program.lasts
	d.log(id, i.program.output)
	d.change(i, runtime.Running)
	return nil
}

// Stop ends an instance; one that is deaf when its grace has passed.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := d.enter(ctx, "stop", id); err != nil {
		return err
	}
	defer d.mu.Unlock()
	i := d.instances[id]
	if i == nil || i.State != runtime.Running {
		return nil
	}
	if !i.program.deaf {
		d.end(i, &skerryv1.Exit{})
		return nil
	}
	d.mu.Unlock()
	err := env.Sleep(ctx, d.clock, grace)
	d.mu.Lock()
	if err == nil && i.State == runtime.Running {
		d.end(i, &skerryv1.Exit{Code: 137})
	}
	return err
}

// Remove removes an instance, also one that runs.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := d.enter(ctx, "remove", id); err != nil {
		return err
	}
	defer d.mu.Unlock()
	if i := d.instances[id]; i != nil {
		if i.State == runtime.Running {
			d.end(i, &skerryv1.Exit{Code: 137})
		}
		d.discard(i)
	}
	return nil
}

// Watch sends the ID of every instance that ended by itself.
func (d *Driver) Watch(ctx context.Context, changed func(id string)) error {
	d.mu.Lock()
	told := d.dropped + len(d.ends)
	d.mu.Unlock()
	for {
		ids, news, wait, err := d.hints(told)
		if err != nil {
			return err
		}
		for _, id := range ids {
			changed(id)
		}
		told += len(ids)
		if err := d.pause(ctx, news, wait); err != nil {
			return err
		}
	}
}

// hints returns the ends after the first told ones, and what to wait for.
func (d *Driver) hints(told int) ([]string, <-chan struct{}, time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle()
	if told < d.dropped {
		return nil, nil, 0, problem.New(problem.Unavailable, "", "the watcher is too slow")
	}
	wait := time.Hour
	for _, i := range d.instances {
		if i.State == runtime.Running && i.program.ends {
			wait = min(wait, i.endsAt-d.clock.Elapsed())
		}
	}
	return slices.Clone(d.ends[told-d.dropped:]), d.news, wait, nil
}

// pause waits for news, for a time at most.
func (d *Driver) pause(ctx context.Context, news <-chan struct{}, wait time.Duration) error {
	timer := d.clock.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-news:
	case <-timer.C():
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
