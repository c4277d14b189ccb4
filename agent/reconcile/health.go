package reconcile

import (
	"errors"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// eagerInterval between checks until the first success, so that a placement
// counts as healthy as soon as it is.
const eagerInterval = 100 * time.Millisecond

// ErrUnknown is the result of a check that says nothing about the instance,
// because the runtime did not answer.
var ErrUnknown = errors.New("its health is not known")

// health of the present run.
type health struct {
	checking    bool
	everChecked bool
	everHealthy bool
	failed      int
	nextCheck   time.Duration
	lastFailure string
	// unhealthy: it is to be stopped and started again.
	unhealthy bool
}

func (t *task) healthConfig() *skerryv1.Health { return t.desired.GetSpec().GetHealth() }

// check names a health check that is due.
func (t *task) check(now time.Duration) (Action, bool) {
	config := t.healthConfig()
	if config == nil || !t.wanted() || !t.running() || t.checking || t.unhealthy || t.busy != 0 || t.halted() || now < t.nextCheck {
		return Action{}, false
	}
	t.checking = true
	return Action{
		Kind: Check, ID: t.id, Health: config,
		Container: t.desired.GetSpec().GetContainer(), VM: t.desired.GetSpec().GetVm(), Address: t.status.GetAddress(),
	}, true
}

// checked takes in the result of a check, nil for success.
func (t *task) checked(err error, now time.Duration) {
	if !t.checking {
		return // of a run that is over
	}
	t.checking = false
	config := t.healthConfig()
	if config == nil || !t.running() || !t.wanted() {
		return
	}
	interval := duration(config.GetInterval(), 2*time.Second)
	if errors.Is(err, ErrUnknown) {
		t.nextCheck = now + interval
		return
	}
	t.everChecked = true
	if err == nil {
		t.everHealthy, t.failed = true, 0
		t.nextCheck = now + interval
		t.status.Readiness = skerryv1.Readiness_READINESS_HEALTHY
		t.status.Message = ""
		return
	}
	t.lastFailure = shorten(err.Error())
	t.nextCheck = now + interval
	if !t.everHealthy {
		t.nextCheck = now + min(interval, eagerInterval)
	}
	if !t.everHealthy && !t.adopted && now-t.runningSince < duration(config.GetStartPeriod(), 10*time.Second) {
		return
	}
	t.failed++
	if t.failed < int(config.GetFailures()) {
		return
	}
	t.status.Readiness = skerryv1.Readiness_READINESS_UNHEALTHY
	t.status.Message = "its health check failed: " + t.lastFailure
	t.unhealthy = true
}
