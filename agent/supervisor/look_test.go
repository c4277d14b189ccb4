package supervisor

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/model"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWhatEndedForGoodIsNotRunAgainByTheNextSupervisor(t *testing.T) {
	b := newBench(t)
	stop := b.run()
	once := placement("once-1")
	once.Spec.Restart.Policy = "never"
	b.orders.give(once)
	b.awaitPhase("once-1", skerryv1.Phase_PHASE_RUNNING)
	b.driver.End("default.once-1", &skerryv1.Exit{})
	b.awaitPhase("once-1", skerryv1.Phase_PHASE_STOPPED)
	stop()
	before := b.instances()
	// Orders are there long before the first look ends.
	b.open()
	b.Driver = slow{b.driver, func() { time.Sleep(100 * time.Millisecond) }}
	b.run()
	b.awaitPhase("once-1", skerryv1.Phase_PHASE_STOPPED)
	if after := b.instances(); after[0] != before[0] {
		t.Errorf("it was %v, is %v", before, after)
	}
}

// stuck is a runtime whose commands never end, and which may be silent.
type stuck struct {
	*model.Driver
	silent *atomic.Bool
}

func (s stuck) Exec(ctx context.Context, _ string, _ runtime.Exec) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func (s stuck) List(ctx context.Context) ([]runtime.Instance, error) {
	if s.silent.Load() {
		return nil, errors.New("containerd did not answer in time")
	}
	return s.Driver.List(ctx)
}

func TestASilentRuntimeSaysNothingAboutHealth(t *testing.T) {
	b := newBench(t)
	silent := &atomic.Bool{}
	b.Driver = stuck{b.driver, silent}
	check := reconcile.Action{Kind: reconcile.Check, ID: "default.web-1", Health: &skerryv1.Health{
		Exec: &skerryv1.ExecCheck{Command: []string{"test", "-f", "/ok"}}, Timeout: "10ms",
	}}
	if err := b.check(t.Context(), check); errors.Is(err, reconcile.ErrUnknown) || !strings.Contains(err.Error(), `"test -f /ok" did not end within 10ms`) {
		t.Errorf("a command that does not end: %v", err)
	}
	silent.Store(true)
	if err := b.check(t.Context(), check); !errors.Is(err, reconcile.ErrUnknown) {
		t.Errorf("a runtime that does not answer: %v", err)
	}
}
