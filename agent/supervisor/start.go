package supervisor

import (
	"context"

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
	return s.Driver.Start(ctx, id)
}
