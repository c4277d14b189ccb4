package containerd

import (
	"context"
	"io"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// Logs opens what the instance wrote.
func (d *Driver) Logs(ctx context.Context, id string, opts runtime.LogOptions) (io.ReadCloser, error) {
	if err := runtime.CheckID(id); err != nil {
		return nil, err
	}
	return d.logs.Open(ctx, id, opts)
}

// Forget removes what outlives Remove.
func (d *Driver) Forget(_ context.Context, id string) error {
	if err := runtime.CheckID(id); err != nil {
		return err
	}
	if err := d.logs.Remove(id); err != nil {
		return problem.New(problem.Internal, id, "its logs cannot be removed: %w", err)
	}
	return nil
}
