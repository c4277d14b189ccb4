package libvirt

import (
	"context"
	"io"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// Watch sends the ID of every instance whose domain began, ended or halted. It has
// a connection of its own: that of the calls is closed when one of them hangs.
func (d *Driver) Watch(ctx context.Context, changed func(id string)) error {
	s, err := d.link.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.conn.Close() }() // whatever it says, it is closed
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var events <-chan golibvirt.DomainEventLifecycleMsg
	err = d.link.bounded(ctx, callTime, s, func() (err error) {
		events, err = s.LifecycleEvents(ctx)
		return err
	})
	if err != nil {
		return d.problem("", "libvirt cannot be watched", err)
	}
	for {
		select {
		case event, more := <-events:
			if !more {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return problem.New(problem.Unavailable, "", "libvirt at %s stopped telling what happens", d.Address)
			}
			d.hint(event.Dom.UUID, changed)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hint at the instance that a domain is of; those of others are nothing to us.
func (d *Driver) hint(domain golibvirt.UUID, changed func(id string)) {
	for _, id := range d.mustInstances() {
		if golibvirt.UUID(d.uuidOf(id)) == domain {
			changed(id)
			return
		}
	}
}

// Logs opens the history of the serial console.
func (d *Driver) Logs(ctx context.Context, id string, opts runtime.LogOptions) (io.ReadCloser, error) {
	if err := runtime.CheckID(id); err != nil {
		return nil, err
	}
	return d.logs.Open(ctx, id, opts)
}
