package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// running is a machine on which web-1 runs.
func running(t *testing.T, change ...func(*skerryv1.Placement)) *machine {
	t.Helper()
	m := newMachine(t)
	p := order("web-1", "a")
	for _, c := range change {
		c(p)
	}
	m.orders["p.web-1"] = p
	m.desire()
	m.settle()
	if m.starts["p.web-1"] != 1 {
		t.Fatalf("it was started %d times", m.starts["p.web-1"])
	}
	return m
}

// untilStart steps until the instance is started again, and returns how long
// that took.
func (m *machine) untilStart(id string) time.Duration {
	m.t.Helper()
	begun, before := m.now, m.starts[id]
	m.observe()
	for range 100 {
		wake := m.step()
		for _, f := range m.underWay {
			m.core.Done(f.Action, m.effect(f.Action), m.now)
		}
		busy := len(m.underWay) > 0
		m.underWay = nil
		m.observe()
		if m.starts[id] > before {
			return m.now - begun
		}
		if !busy {
			m.now += wake
		}
	}
	m.t.Fatalf("%s is never started again", id)
	return 0
}

func TestPausesBetweenRestartsDouble(t *testing.T) {
	m := running(t)
	var pauses []time.Duration
	for range 10 {
		m.now += time.Second // shorter than a good run
		m.end("p.web-1")
		pauses = append(pauses, m.untilStart("p.web-1"))
	}
	want := []time.Duration{
		500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second,
		16 * time.Second, 32 * time.Second, time.Minute, time.Minute, time.Minute,
	}
	if !slices.Equal(pauses, want) {
		t.Errorf("the pauses are %v, want %v", pauses, want)
	}
	m.now += goodRun
	m.end("p.web-1")
	if got := m.untilStart("p.web-1"); got != 500*time.Millisecond {
		t.Errorf("after a good run the pause is %s", got)
	}
	if got := m.core.Status("p", "web-1").GetRestarts(); got != 11 {
		t.Errorf("%d restarts are told, want 11", got)
	}
}

func TestPausesAfterFailuresDouble(t *testing.T) {
	m := newMachine(t)
	m.orders["p.web-1"] = order("web-1", "a")
	m.desire()
	want := firstRetry
	for n := range 10 {
		actions, _ := m.core.Step(m.now)
		if len(actions) != 1 || actions[0].Kind != Fetch {
			t.Fatalf("attempt %d: %v", n, actions)
		}
		m.core.Done(actions[0], errors.New("no node has it"), m.now)
		again, wake := m.core.Step(m.now)
		if len(again) != 0 || wake != want {
			t.Fatalf("after failure %d: %d actions, and a pause of %s, want %s", n, len(again), wake, want)
		}
		if early, _ := m.core.Step(m.now + wake - 1); len(early) != 0 {
			t.Fatalf("after failure %d it is tried too early", n)
		}
		m.now += wake
		want = min(lastRetry, 2*want)
	}
}

func TestAgentThatStartsAdoptsWhatRuns(t *testing.T) {
	for _, ordersFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("orders first: %t", ordersFirst), func(t *testing.T) {
			m := running(t)
			m.crash(ordersFirst)
			m.settle()
			if m.starts["p.web-1"] != 1 || m.instances["p.web-1"].State != runtime.Running {
				t.Errorf("it was started %d times and is %v", m.starts["p.web-1"], m.instances["p.web-1"])
			}
			if got := m.core.Status("p", "web-1"); got.GetPhase() != skerryv1.Phase_PHASE_RUNNING || got.GetRestarts() != 0 {
				t.Errorf("its status is %v", got)
			}
		})
	}
}

func TestWithoutOrdersNothingIsTouched(t *testing.T) {
	m := running(t)
	m.core = New()
	m.observe()
	if actions, wake := m.core.Step(m.now); len(actions) != 0 || wake != 0 {
		t.Errorf("an agent without orders wants %v", actions)
	}
}

func TestAfterAPowerCutItIsStartedAtOnce(t *testing.T) {
	m := running(t)
	m.end("p.web-1")
	m.crash(true)
	if got := m.untilStart("p.web-1"); got != 0 {
		t.Errorf("it was started after %s", got)
	}
}

func TestEndOfAPlacement(t *testing.T) {
	for _, test := range []struct {
		name  string
		order func(m *machine)
		gone  bool
	}{
		{"the orders say that it stops", func(m *machine) {
			p := proto.CloneOf(m.orders["p.web-1"])
			p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
			m.orders["p.web-1"] = p
		}, true},
		{"the orders do not name it", func(m *machine) { delete(m.orders, "p.web-1") }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := running(t)
			test.order(m)
			m.desire()
			m.check()
			actions, _ := m.core.Step(m.now)
			if len(actions) != 1 || actions[0].Kind != Stop {
				t.Fatalf("the first thing to do is %v", actions)
			}
			m.check()
			m.core.Done(actions[0], m.effect(actions[0]), m.now)
			m.settle()
			if m.instances["p.web-1"] != nil || !m.final["p.web-1"] {
				t.Errorf("what is left is %v, its logs were removed: %t", m.instances["p.web-1"], m.final["p.web-1"])
			}
			reports := m.core.Reports()
			if test.gone != (len(reports) == 1 && reports[0].GetGone()) {
				t.Errorf("the reports are %v", reports)
			}
		})
	}
}

func TestLeftoverOfAnotherTemplateIsRemovedBeforeItRuns(t *testing.T) {
	m := newMachine(t)
	m.instances["p.web-1"] = &runtime.Instance{ID: "p.web-1", SpecHash: SpecOf(order("web-1", "a")).Hash(), State: runtime.Prepared}
	m.orders["p.web-1"] = order("web-1", "b")
	m.crash(true)
	m.settle()
	there := m.instances["p.web-1"]
	if there == nil || there.State != runtime.Running || there.SpecHash != SpecOf(m.orders["p.web-1"]).Hash() {
		t.Errorf("what runs is %v", there)
	}
}

func TestRestartPolicies(t *testing.T) {
	for _, test := range []struct {
		policy string
		code   int32
		again  bool
		phase  skerryv1.Phase
	}{
		{"always", 0, true, skerryv1.Phase_PHASE_RUNNING},
		{"always", 1, true, skerryv1.Phase_PHASE_RUNNING},
		{"on-failure", 0, false, skerryv1.Phase_PHASE_STOPPED},
		{"on-failure", 3, true, skerryv1.Phase_PHASE_RUNNING},
		{"never", 0, false, skerryv1.Phase_PHASE_STOPPED},
		{"never", 3, false, skerryv1.Phase_PHASE_FAILED},
	} {
		t.Run(fmt.Sprintf("%s after exit code %d", test.policy, test.code), func(t *testing.T) {
			m := running(t, func(p *skerryv1.Placement) { p.Spec.Restart.Policy = test.policy })
			m.end("p.web-1")
			m.instances["p.web-1"].Exit.Code = test.code
			m.observe()
			m.settle()
			if again := m.starts["p.web-1"] == 2; again != test.again {
				t.Errorf("it was started %d times", m.starts["p.web-1"])
			}
			if got := m.core.Status("p", "web-1").GetPhase(); got != test.phase {
				t.Errorf("its phase is %v, want %v", got, test.phase)
			}
			// What ended for good is not started by an agent that is new either.
			m.crash(true)
			m.settle()
			if again := m.starts["p.web-1"] == 2; again != test.again {
				t.Errorf("after a crash it was started %d times", m.starts["p.web-1"])
			}
		})
	}
}

func TestUnhealthyInstanceIsStoppedAndStartedAgain(t *testing.T) {
	m := newMachine(t)
	p := order("web-1", "a")
	p.Spec.Health = &skerryv1.Health{Interval: "1s", Failures: 2, StartPeriod: "10s"}
	m.orders["p.web-1"] = p
	m.desire()
	var kinds []Kind
	fail := false
	for range 60 {
		actions, wake := m.core.Step(m.now)
		for _, action := range actions {
			if action.Kind != Check || fail {
				kinds = append(kinds, action.Kind)
			}
			err := m.effect(action)
			if action.Kind == Check && fail {
				err = errors.New("it does not answer")
			}
			m.core.Done(action, err, m.now)
		}
		m.observe()
		m.now += wake
		if !fail && m.core.Status("p", "web-1").GetReadiness() == skerryv1.Readiness_READINESS_HEALTHY {
			fail, kinds = true, nil
		}
		if m.starts["p.web-1"] == 2 {
			break
		}
	}
	if want := []Kind{Check, Check, Stop, Remove, Prepare, Start}; !slices.Equal(kinds, want) {
		t.Errorf("what was done is %v, want %v", kinds, want)
	}
}
