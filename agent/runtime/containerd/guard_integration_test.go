//go:build integration

package containerd

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"skerry.dev/agent/guard"
	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
)

// TestWhatTheGuardKilledIsRemoved: the guard ends a container that ignores SIGTERM,
// nothing starts in its place, and once the agent is at work all of it goes.
func TestWhatTheGuardKilledIsRemoved(t *testing.T) {
	d := newHost(t, theOne).open(t)
	spec := specOf(load(t, d), "db-1", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
	must(t, d.Prepare(t.Context(), spec), d.Start(t.Context(), spec.ID))
	system := env.NewSystem()
	dir, err := os.MkdirTemp("", "guard") // socket paths are short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- guard.Run(ctx, guard.Config{Dir: dir, Run: "run", Env: system, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	}()
	client := &guard.Client{Dir: dir, Run: "run", Net: system.Net, Now: system.Clock.Now}
	t.Cleanup(func() { client.Close(); cancel(); <-ended })
	until(t, "the guard answers", func() bool { _, err := client.Check(t.Context()); return err == nil })
	_, err = client.Arm(t.Context(), spec.ID, d.GuardTarget(spec.ID, false), system.Clock.Elapsed()+4*time.Second, 5*time.Second)
	must(t, err)
	until(t, "nothing of it runs", func() bool { return state(t, d, spec.ID) != runtime.Running })
	must(t, client.Thaw(t.Context(), spec.ID))
	until(t, "it is removed", func() bool {
		if err := d.Stop(t.Context(), spec.ID, 0); err != nil {
			t.Logf("stop: %v", err)
		}
		err := d.Remove(t.Context(), spec.ID)
		if err != nil {
			t.Logf("remove: %v", err)
		}
		return err == nil
	})
	must(t, client.Drop(t.Context(), spec.ID))
}
