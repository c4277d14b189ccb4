package reconcile

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const lookID = "default.web-1"

// lookedAt is a core with orders for one placement.
func lookedAt(desired skerryv1.DesiredState) (*Core, *skerryv1.Placement) {
	p := &skerryv1.Placement{
		Project: "default", Name: "web-1", Desired: desired,
		Spec: &skerryv1.Workload{Container: &skerryv1.Container{Image: "web"}},
	}
	c := New()
	c.Desire([]*skerryv1.Placement{p})
	return c, p
}

// one takes the only action that the core wants now.
func one(t *testing.T, c *Core, want Kind, now time.Duration) Action {
	t.Helper()
	actions, _ := c.Step(now)
	if len(actions) != 1 || actions[0].Kind != want {
		t.Fatalf("the core wants %v, not to %v", actions, want)
	}
	return actions[0]
}

// do the only action that the core wants now.
func do(t *testing.T, c *Core, want Kind, err error, now time.Duration) {
	t.Helper()
	c.Done(one(t, c, want, now), err, now)
}

func TestALookOlderThanAStartIsNoEnd(t *testing.T) {
	c, p := lookedAt(skerryv1.DesiredState_DESIRED_STATE_RUN)
	do(t, c, Fetch, nil, 0)
	do(t, c, Prepare, nil, 0)
	start := one(t, c, Start, 0)
	c.Looking()
	c.Done(start, nil, time.Second)
	prepared := runtime.Instance{ID: lookID, State: runtime.Prepared, SpecHash: SpecOf(p).Hash()}
	c.Observe([]runtime.Instance{prepared}, time.Second)
	status := c.Status("default", "web-1")
	if status.GetPhase() != skerryv1.Phase_PHASE_RUNNING || status.GetRestarts() != 0 {
		t.Fatalf("an old look ended it: %v", status)
	}
	// The next look counts.
	c.Looking()
	c.Observe([]runtime.Instance{{ID: lookID, State: runtime.Exited, SpecHash: prepared.SpecHash}}, 2*time.Second)
	if status := c.Status("default", "web-1"); status.GetRestarts() != 1 {
		t.Fatalf("its end was not seen: %v", status)
	}
}

func TestAFailingPrepareIsTriedLessAndLess(t *testing.T) {
	c, _ := lookedAt(skerryv1.DesiredState_DESIRED_STATE_RUN)
	var now, last time.Duration
	for range 10 {
		do(t, c, Fetch, nil, now)
		one(t, c, Prepare, now)
		if got := c.Status("default", "web-1").GetPhase(); (got == skerryv1.Phase_PHASE_BACKOFF) != (now > 0) {
			t.Fatalf("while it is tried after %s it is %v", now, got)
		}
		c.Done(Action{Kind: Prepare, ID: lookID}, errors.New("no such directory"), now)
		actions, wait := c.Step(now)
		if len(actions) != 0 || wait < last {
			t.Fatalf("after a wait of %s: %v, wait %s", last, actions, wait)
		}
		last = wait
		now += wait
	}
	if last != lastRetry {
		t.Fatalf("after ten failures it waits %s", last)
	}
}

func TestLogsOfWhatCouldNotBePreparedAreRemoved(t *testing.T) {
	c, p := lookedAt(skerryv1.DesiredState_DESIRED_STATE_RUN)
	do(t, c, Fetch, nil, 0)
	do(t, c, Prepare, errors.New("no such directory"), 0)
	p = &skerryv1.Placement{Project: p.Project, Name: p.Name, Spec: p.Spec, Desired: skerryv1.DesiredState_DESIRED_STATE_STOP}
	c.Desire([]*skerryv1.Placement{p})
	if c.Reports()[0].GetGone() {
		t.Fatal("it is gone, and its logs are not")
	}
	action := one(t, c, Remove, 0)
	if !action.Final {
		t.Fatal("its logs stay")
	}
	c.Done(action, nil, 0)
	c.Looking()
	c.Observe(nil, 0)
	if !c.Reports()[0].GetGone() {
		t.Fatal("it is not gone")
	}
}

func TestAFailingEndIsNotTriedWithoutPause(t *testing.T) {
	c, _ := lookedAt(skerryv1.DesiredState_DESIRED_STATE_STOP)
	c.Observe([]runtime.Instance{{ID: lookID, State: runtime.Exited}}, 0)
	do(t, c, Remove, errors.New("the file system is read-only"), 0)
	actions, wait := c.Step(0)
	if len(actions) != 0 || wait != firstRetry {
		t.Fatalf("it goes on with %v, wait %s", actions, wait)
	}
	do(t, c, Remove, nil, wait)
}

func TestWhatNobodySawEndIsNoSuccess(t *testing.T) {
	for policy, want := range map[string]skerryv1.Phase{
		"always": skerryv1.Phase_PHASE_BACKOFF, "on-failure": skerryv1.Phase_PHASE_BACKOFF, "never": skerryv1.Phase_PHASE_FAILED,
	} {
		c, p := lookedAt(skerryv1.DesiredState_DESIRED_STATE_RUN)
		p.Spec.Restart = &skerryv1.Restart{Policy: policy}
		// The power was cut while it ran.
		c.Observe([]runtime.Instance{{ID: lookID, State: runtime.Exited}}, 0)
		if got := c.Status("default", "web-1").GetPhase(); got != want {
			t.Errorf("with %s after a power cut it is %v, want %v", policy, got, want)
		}
		if policy != "never" {
			one(t, c, Remove, 0)
		}
	}
}

func TestAnUnknownHealthIsNoFailure(t *testing.T) {
	c, p := lookedAt(skerryv1.DesiredState_DESIRED_STATE_RUN)
	p.Spec.Health = &skerryv1.Health{Interval: "1s", Failures: 1, StartPeriod: "0s"}
	do(t, c, Fetch, nil, 0)
	do(t, c, Prepare, nil, 0)
	do(t, c, Start, nil, 0)
	do(t, c, Check, nil, 0)
	for now := time.Second; now < 10*time.Second; now += time.Second {
		do(t, c, Check, fmt.Errorf("%w: containerd does not answer", ErrUnknown), now)
		if got := c.Status("default", "web-1").GetReadiness(); got != skerryv1.Readiness_READINESS_HEALTHY {
			t.Fatalf("after %s it is %v", now, got)
		}
	}
	do(t, c, Check, errors.New("it failed"), 10*time.Second)
	one(t, c, Stop, 10*time.Second)
}

func TestLogsOfWhatThePowerEndedAreRemoved(t *testing.T) {
	c, p := lookedAt(skerryv1.DesiredState_DESIRED_STATE_RUN)
	c.Observe([]runtime.Instance{{ID: lookID, State: runtime.Exited}}, 0)
	do(t, c, Remove, nil, 0) // to prepare it anew
	c.Desire([]*skerryv1.Placement{{Project: p.Project, Name: p.Name, Spec: p.Spec, Desired: skerryv1.DesiredState_DESIRED_STATE_STOP}})
	if action := one(t, c, Remove, 0); !action.Final {
		t.Fatal("its logs stay")
	}
}

func TestNothingIsGoneBeforeTheFirstLook(t *testing.T) {
	c, _ := lookedAt(skerryv1.DesiredState_DESIRED_STATE_STOP)
	if c.Reports()[0].GetGone() {
		t.Fatal("it may run, and is told to be gone")
	}
	c.Looking()
	c.Observe(nil, 0)
	if !c.Reports()[0].GetGone() {
		t.Fatal("nothing is there, and it is not told to be gone")
	}
}
