package libvirt

import (
	"context"
	"errors"
	"os"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// Start starts a prepared instance.
func (d *Driver) Start(ctx context.Context, id string) error {
	_, err := d.start(ctx, id, golibvirt.DomainNone)
	return err
}

// StartPaused starts a prepared instance that does nothing until it is resumed.
func (d *Driver) StartPaused(ctx context.Context, id string) (paused bool, err error) {
	return d.start(ctx, id, golibvirt.DomainStartPaused)
}

// start tells whether it is paused now.
func (d *Driver) start(ctx context.Context, id string, how golibvirt.DomainCreateFlags) (paused bool, err error) {
	if err := runtime.CheckID(id); err != nil {
		return false, err
	}
	present, err := d.one(ctx, id)
	if err != nil {
		return false, d.problem(id, "it cannot be started", err)
	}
	if runs, err := present.CheckStart(id); runs || err != nil {
		return runs && present.Paused, err
	}
	free, err := d.claim(ctx, id, "it is being started")
	if err != nil {
		return false, err
	}
	defer free()
	r, err := d.read(id)
	if err != nil || r == nil {
		return false, problem.New(problem.Internal, id, "its record cannot be read: %w", err)
	}
	if err := d.snapshots(id).Finish(plainDisks(r.Disks)); err != nil { // of a restore that a crash broke
		return false, d.problem(id, "it cannot be started", err)
	}
	// Written first: one that began and ended unseen must not begin twice.
	r.Started = d.Env.Clock.Now().UTC()
	if err := d.write(id, r); err != nil {
		return false, d.problem(id, "it cannot be started", err)
	}
	err = d.link.do(ctx, slowTime, func(l *golibvirt.Libvirt) error {
		_, err := l.DomainCreateWithFlags(d.domainOf(id), uint32(how))
		return err
	})
	if err != nil {
		err = d.notStarted(ctx, id, r, err)
	}
	return how == golibvirt.DomainStartPaused, err
}

// notStarted looks what became of a start that failed. One that did not begin is
// prepared as before.
func (d *Driver) notStarted(ctx context.Context, id string, r *record, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	s, err := d.domain(ctx, id)
	switch {
	case err == nil && s.active():
		return nil
	case err == nil:
		r.Started = time.Time{}
		if err := d.write(id, r); err != nil {
			return d.problem(id, "it cannot be started", err)
		}
	}
	return d.problem(id, "it cannot be started", failure)
}

const (
	// pollEvery is how often an end is looked for.
	pollEvery = 100 * time.Millisecond
	// askEvery is how often the guest is asked to end: one that boots does not
	// hear it yet.
	askEvery = 3 * time.Second
)

// Stop asks the guest to end, by its agent or by its power button, and cuts its
// power when grace has passed.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	if d.leaves(id) {
		return d.kill(ctx, id) // it may run elsewhere: to be asked it would have to run here
	}
	end := d.Env.Clock.Elapsed() + grace
	nextAsk := d.Env.Clock.Elapsed()
	askCtx, cancel := context.WithTimeout(ctx, max(grace, time.Millisecond))
	defer cancel()
	for asked := 0; ; {
		s, err := d.domain(ctx, id)
		if err != nil {
			return d.problem(id, "it cannot be stopped", err)
		}
		if !s.active() {
			return nil
		}
		now := d.Env.Clock.Elapsed()
		if now >= end {
			return d.kill(ctx, id)
		}
		if now >= nextAsk {
			if asked == 0 {
				_ = d.Resume(askCtx, id) // a paused guest hears nothing
			}
			if asked > 0 || !d.askAgent(askCtx, id) {
				d.ask(askCtx, id)
			}
			asked++
			nextAsk = d.Env.Clock.Elapsed() + askEvery
		}
		if err := env.Sleep(ctx, d.Env.Clock, min(pollEvery, max(end-d.Env.Clock.Elapsed(), time.Millisecond))); err != nil {
			return d.problem(id, "it was not stopped in time", err)
		}
	}
}

// ask the guest to end, by its power button. Whether it does shows by its end.
func (d *Driver) ask(ctx context.Context, id string) {
	err := d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) error {
		return l.DomainShutdownFlags(d.domainOf(id), golibvirt.DomainShutdownAcpiPowerBtn)
	})
	if err != nil {
		d.Logger.Debug("the power button of a guest was not pressed", "instance", id, "error", err)
	}
}

// askAgent asks the guest's agent, if that is there. It answers nothing then, and
// libvirt's own call would wait for a minute; a call that waits for nothing is taken
// back before it was sent.
func (d *Driver) askAgent(ctx context.Context, id string) bool {
	const pingTime, sendTime = 2, 1 // seconds
	if err := d.agent(ctx, id, pingTime, "guest-ping", nil, nil); err != nil {
		d.Logger.Debug("the agent of a guest was not asked to end it", "instance", id, "error", err)
		return false
	}
	if err := d.agent(ctx, id, sendTime, "guest-shutdown", map[string]string{"mode": "powerdown"}, nil); err != nil {
		d.Logger.Debug("the agent of a guest said nothing when it was asked to end it", "instance", id, "error", err)
	}
	return true
}

// kill cuts the power.
func (d *Driver) kill(ctx context.Context, id string) error {
	err := d.link.do(ctx, slowTime, func(l *golibvirt.Libvirt) error {
		return l.DomainDestroyFlags(d.domainOf(id), golibvirt.DomainDestroyDefault)
	})
	if err == nil || absent(err) {
		return nil
	}
	if s, failed := d.domain(ctx, id); failed == nil && !s.active() {
		return nil
	}
	return d.problem(id, "its power cannot be cut", err)
}

// Remove removes every trace of the instance but its logs, its root disk and its
// volumes. Of one that has not come yet it removes those that were to come.
func (d *Driver) Remove(ctx context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	if !exists(d.instanceDir(id)) && !exists(d.Address) {
		return nil
	}
	_, err := d.one(ctx, id) // which finds out whose it is
	r, failed := d.read(id)
	if err = errors.Join(err, failed); err == nil {
		err = d.undefine(ctx, id)
	}
	for _, volume := range r.volumesComing() { // the data is where it comes from
		if err == nil {
			err = os.RemoveAll(d.volumeDir(projectOf(id), volume))
		}
	}
	if err != nil {
		return d.problem(id, "it cannot be removed", err)
	}
	err = errors.Join(os.RemoveAll(d.consoleSocket(id)), os.RemoveAll(d.instanceDir(id)))
	return d.problem(id, "it cannot be removed", err)
}

func (d *Driver) undefine(ctx context.Context, id string) error {
	s, err := d.domain(ctx, id)
	if err != nil || s == nil {
		return err
	}
	if s.active() {
		if err := d.kill(ctx, id); err != nil {
			return err
		}
	}
	err = d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) error {
		return l.DomainUndefineFlags(d.domainOf(id), golibvirt.DomainUndefineManagedSave|golibvirt.DomainUndefineSnapshotsMetadata|
			golibvirt.DomainUndefineCheckpointsMetadata|golibvirt.DomainUndefineKeepNvram)
	})
	if absent(err) {
		return nil
	}
	return err
}

// Forget removes what outlives Remove: the log and the root disk.
func (d *Driver) Forget(ctx context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	if exists(d.instanceDir(id)) {
		return problem.New(problem.Conflict, id, "it is still there").WithHint("remove it first")
	}
	free, err := d.claim(ctx, id, "it is being removed")
	if err != nil {
		return err
	}
	defer free()
	if err := errors.Join(os.RemoveAll(d.diskDir(id)), d.logs.Remove(id)); err != nil {
		return problem.New(problem.Internal, id, "its disk and logs cannot be removed: %w", err)
	}
	return nil
}

// Pause a running instance.
func (d *Driver) Pause(ctx context.Context, id string) error {
	return d.turn(ctx, id, "it cannot be paused", (*golibvirt.Libvirt).DomainSuspend, true)
}

// Resume a paused instance.
func (d *Driver) Resume(ctx context.Context, id string) error {
	return d.turn(ctx, id, "it cannot go on", (*golibvirt.Libvirt).DomainResume, false)
}

// leaves: another node may run it, so that nothing here lets it go on.
func (d *Driver) leaves(id string) bool {
	r, err := d.read(id)
	return err == nil && r != nil && r.Leaving
}

func (d *Driver) turn(ctx context.Context, id, what string, call func(*golibvirt.Libvirt, golibvirt.Domain) error, pause bool) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	if d.leaves(id) {
		return problem.New(problem.Conflict, id, "it was handed to another node, and may run there")
	}
	s, err := d.domain(ctx, id)
	switch {
	case err != nil:
		return d.problem(id, what, err)
	case !s.active():
		return problem.New(problem.Conflict, id, "it does not run")
	case (s.state == golibvirt.DomainPaused) == pause:
		return nil
	}
	return d.problem(id, what, d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) error { return call(l, d.domainOf(id)) }))
}
