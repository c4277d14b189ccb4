package reconcile

import (
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// untilStop tells the node to stop web-1, and returns how long it takes until
// the instance is told.
func untilStop(m *machine) time.Duration {
	m.t.Helper()
	stopping := order("web-1", "a")
	stopping.Spec, stopping.Desired = m.orders["p.web-1"].GetSpec(), skerryv1.DesiredState_DESIRED_STATE_STOP
	m.orders["p.web-1"] = stopping
	m.desire()
	begun := m.now
	for range 10 {
		actions, wake := m.core.Step(m.now)
		for _, action := range actions {
			if action.Kind == Stop {
				return m.now - begun
			}
		}
		m.now += wake
	}
	m.t.Fatalf("it is never stopped")
	return 0
}

func TestWhatOthersReachLeavesDNSBeforeItIsStopped(t *testing.T) {
	published := []*skerryv1.Port{{Name: "http", Port: 80, HostPort: 8080}}
	for name, c := range map[string]struct {
		change func(*skerryv1.Placement)
		want   time.Duration
	}{
		"it publishes a port": {func(p *skerryv1.Placement) { p.Spec.Container.Ports = published }, leaveTime},
		"it uses the node's network": {func(p *skerryv1.Placement) {
			p.Spec.Container.Ports, p.Spec.Container.Network = []*skerryv1.Port{{Name: "http", Port: 80}}, "host"
		}, leaveTime},
		"it publishes nothing": {func(*skerryv1.Placement) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := running(t, c.change)
			if got := untilStop(m); got != c.want {
				t.Errorf("it is stopped after %s, want %s", got, c.want)
			}
			if phase := m.core.Status("p", "web-1").GetPhase(); phase != skerryv1.Phase_PHASE_STOPPING {
				t.Errorf("meanwhile it is told to be %s", phase)
			}
		})
	}
}
