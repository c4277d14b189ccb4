//go:build integration

package libvirt

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

// TestWhatTheGuardKilledIsRemoved: a machine that was started paused does nothing
// until it is resumed; the guard ends it without libvirt, also one that libvirt
// starts late; and what is left is removed.
func TestWhatTheGuardKilledIsRemoved(t *testing.T) {
	d := newNode(t, theOne).open(t)
	spec := machineSpec(t, d, "vm-1")
	must(t, d.Prepare(t.Context(), spec))
	for range 2 {
		paused, err := d.StartPaused(t.Context(), spec.ID)
		must(t, err)
		if !paused {
			t.Fatal("it is not paused")
		}
	}
	if all, err := d.List(t.Context()); err != nil || all[0].State != runtime.Running || !all[0].Paused {
		t.Errorf("it is %+v, %v", all, err)
	}
	must(t, d.Resume(t.Context(), spec.ID))
	until(t, "the guest's agent answers", func() bool { return d.PingAgent(t.Context(), spec.ID) == nil })
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
	_, err = client.Arm(t.Context(), spec.ID, d.GuardTarget(spec.ID, true), system.Clock.Elapsed()+4*time.Second, 5*time.Second)
	must(t, err)
	until(t, "nothing of it runs", func() bool { return state(t, d, spec.ID) == runtime.Exited })
	must(t, d.Remove(t.Context(), spec.ID))
	must(t, d.Prepare(t.Context(), spec))
	_, _ = d.StartPaused(t.Context(), spec.ID) // whatever comes of it
	until(t, "nothing of what was started late is left", func() bool { s := state(t, d, spec.ID); return s != runtime.Running })
	must(t, d.Remove(t.Context(), spec.ID))
	must(t, client.Drop(t.Context(), spec.ID))
}
