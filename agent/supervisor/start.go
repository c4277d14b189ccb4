package supervisor

import (
	"context"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// start an instance. What is exclusive must have come up before its lease ends:
// the guard keeps it from running after that.
func (s *Supervisor) start(ctx context.Context, id string) error {
	end, err := s.Leases.Begin(id)
	if err != nil {
		return err
	}
	if end > 0 {
		left := end - s.Env.Clock.Elapsed()
		if left <= 0 {
			return problem.New(problem.Conflict, id, "its lease ends before it could be started")
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, left)
		defer cancel()
	}
	return s.startHeld(ctx, id, end > 0)
}

// startHeld starts an instance. An exclusive one that can be is started so that it
// does nothing yet: the guard can find it before it does.
func (s *Supervisor) startHeld(ctx context.Context, id string, exclusive bool) error {
	starter, can := s.Driver.(runtime.PausedStarter)
	if !exclusive || !can {
		return s.Driver.Start(ctx, id)
	}
	paused, err := starter.StartPaused(ctx, id)
	if err != nil || !paused {
		return err
	}
	return s.resume(ctx, id)
}

// resume what is paused, unless its lease has ended: when it is there before that
// is looked at, the guard finds and ends it in time.
func (s *Supervisor) resume(ctx context.Context, id string) error {
	pauser, can := s.Driver.(runtime.Pauser)
	if !can {
		return problem.New(problem.Invalid, id, "this node runs no virtual machines")
	}
	if _, err := s.Leases.Begin(id); err != nil {
		return err
	}
	return pauser.Resume(ctx, id)
}
