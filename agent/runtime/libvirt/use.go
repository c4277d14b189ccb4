package libvirt

import (
	"context"

	"skerry.dev/shared/problem"
)

// use of the disks of one instance or volume.
type use struct {
	what string
	// yields: it only reads, and a start does not wait for it.
	yields bool
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// occupy the disks of an instance or volume, until free is called. Somebody else's
// use is an error of kind Conflict.
func (d *Driver) occupy(ctx context.Context, id, what string, yields bool) (_ context.Context, free func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if other := d.uses[id]; other != nil {
		return nil, nil, problem.New(problem.Conflict, id, "%s now", other.what).WithHint("wait until that is over")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	u := &use{what: what, yields: yields, cancel: cancel, done: make(chan struct{})}
	d.uses[id] = u
	return ctx, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.uses, id)
		cancel(nil)
		close(u.done)
	}, nil
}

// claim is occupy for what must not wait: whoever only reads the disks is ended.
func (d *Driver) claim(ctx context.Context, id, what string) (free func(), err error) {
	for {
		d.mu.Lock()
		other := d.uses[id]
		d.mu.Unlock()
		if other == nil || !other.yields {
			_, free, err := d.occupy(ctx, id, what, false)
			return free, err
		}
		other.cancel(problem.New(problem.Conflict, id, "%s: what was under way was given up", what).WithHint("try again"))
		select {
		case <-other.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
