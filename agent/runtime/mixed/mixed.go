// Package mixed makes one runtime of two: one for containers, one for virtual
// machines. It decides nothing but whose an instance or image is, and it keeps
// them apart: when the one does not answer, the other goes on.
package mixed

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// Containers is what runs containers.
type Containers interface {
	runtime.Driver
	runtime.ImageStore
	runtime.Attester
	runtime.Resolving
	runtime.Guarded
	runtime.SecretKeeper
	runtime.VolumeKeeper
	Run(ctx context.Context) error
	Close() error
}

// Machines is what runs virtual machines.
type Machines interface {
	runtime.Driver
	runtime.ImageStore
	runtime.Pauser
	runtime.AgentPinger
	runtime.VolumeKeeper
	runtime.Guarded
	runtime.PausedStarter
	runtime.DiskCopier
	runtime.Adjuster
	runtime.VolumeCopier
	runtime.Addresser
	runtime.Photographer
	runtime.Mover
	Run(ctx context.Context) error
	Close() error
	// Has tells whether there is anything of an instance, at once.
	Has(id string) bool
	// HasImage tells whether an image or a part of one is known, at once.
	HasImage(digest string) bool
	// Wants tells whether a blob is a part of an image that is known, and is not
	// here.
	Wants(digest string) bool
	// Facts are what this node can do for virtual machines; nil: nothing.
	Facts() *skerryv1.VmFacts
	RootDisks() (count uint32, bytes int64)
	Conditions() []*skerryv1.Condition
	// Belong tells of which site the node is.
	Belong(site string)
}

// rewatch is the pause before virtual machines are watched again.
const rewatch = 2 * time.Second

// Driver is both.
type Driver struct {
	Containers
	machines Machines
	clock    env.Clock
	logger   *slog.Logger
}

// New returns both as one.
func New(containers Containers, machines Machines, clock env.Clock, logger *slog.Logger) *Driver {
	return &Driver{Containers: containers, machines: machines, clock: clock, logger: logger}
}

var (
	_ runtime.Mover         = (*Driver)(nil)
	_ runtime.Driver        = (*Driver)(nil)
	_ runtime.ImageStore    = (*Driver)(nil)
	_ runtime.Pauser        = (*Driver)(nil)
	_ runtime.AgentPinger   = (*Driver)(nil)
	_ runtime.VolumeKeeper  = (*Driver)(nil)
	_ runtime.SecretKeeper  = (*Driver)(nil)
	_ runtime.Guarded       = (*Driver)(nil)
	_ runtime.PausedStarter = (*Driver)(nil)
	_ runtime.Adjuster      = (*Driver)(nil)
	_ runtime.VolumeCopier  = (*Driver)(nil)
	_ runtime.DiskCopier    = (*Driver)(nil)
	_ runtime.Photographer  = (*Driver)(nil)
)

// of an instance that exists.
func (d *Driver) of(id string) runtime.Driver {
	if d.machines.Has(id) {
		return d.machines
	}
	return d.Containers
}

// List returns all instances. Those of a runtime of virtual machines that does not
// answer are Unknown.
func (d *Driver) List(ctx context.Context) ([]runtime.Instance, error) {
	var group errgroup.Group
	var machines []runtime.Instance
	group.Go(func() (err error) {
		machines, err = d.machines.List(ctx)
		return err
	})
	containers, err := d.Containers.List(ctx)
	if err := errors.Join(err, group.Wait()); err != nil {
		return nil, err
	}
	all := append(containers, machines...)
	slices.SortFunc(all, func(a, b runtime.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// Prepare makes what the spec says.
func (d *Driver) Prepare(ctx context.Context, spec runtime.Spec) error {
	if spec.VM != nil {
		return d.machines.Prepare(ctx, spec)
	}
	return d.Containers.Prepare(ctx, spec)
}

// Start starts an instance.
func (d *Driver) Start(ctx context.Context, id string) error { return d.of(id).Start(ctx, id) }

// Stop stops an instance.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	return d.of(id).Stop(ctx, id, grace)
}

// Remove removes an instance.
func (d *Driver) Remove(ctx context.Context, id string) error { return d.of(id).Remove(ctx, id) }

// Forget removes what outlives Remove.
func (d *Driver) Forget(ctx context.Context, id string) error { return d.of(id).Forget(ctx, id) }

// Logs opens what an instance wrote.
func (d *Driver) Logs(ctx context.Context, id string, opts runtime.LogOptions) (io.ReadCloser, error) {
	return d.of(id).Logs(ctx, id, opts)
}

// Exec runs a command inside an instance.
func (d *Driver) Exec(ctx context.Context, id string, exec runtime.Exec) (int, error) {
	return d.of(id).Exec(ctx, id, exec)
}

// Watch hints at changes of both. Only containers decide how it ends: a node may
// have no virtual machines.
func (d *Driver) Watch(ctx context.Context, changed func(id string)) error {
	ctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error { return d.watchMachines(ctx, changed) })
	err := d.Containers.Watch(ctx, changed)
	cancel()
	_ = group.Wait() // it ends because its context does
	return err
}

func (d *Driver) watchMachines(ctx context.Context, changed func(id string)) error {
	for {
		err := d.machines.Watch(ctx, changed)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.logger.Debug("virtual machines are not watched", "error", err)
		if err := env.Sleep(ctx, d.clock, rewatch); err != nil {
			return err
		}
	}
}

// Run does what must be done now and then, for both.
func (d *Driver) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.Containers.Run(ctx) })
	group.Go(func() error { return d.machines.Run(ctx) })
	return group.Wait()
}

// Close both.
func (d *Driver) Close() error { return errors.Join(d.Containers.Close(), d.machines.Close()) }
