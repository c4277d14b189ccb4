package reconcile

import (
	"time"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// off: an operator has switched the virtual machine off.
func (t *task) off() bool {
	return t.desired.GetPower().GetState() == skerryv1.PowerState_POWER_STATE_OFF
}

// halted: an operator has paused it.
func (t *task) halted() bool {
	return t.desired.GetPower().GetState() == skerryv1.PowerState_POWER_STATE_PAUSED
}

// stale: a restart was asked for since it was prepared.
func (t *task) stale() bool {
	return t.observed != nil && t.observed.Cycle != t.desired.GetPower().GetCycle()
}

// misfitted: it has other devices than it should have.
func (t *task) misfitted() bool {
	return !t.unhealthy && !t.awaitsLease() && t.observed.Devices != "" && t.observed.Devices != SpecOf(t.desired).DevicesHash()
}

// powerGrace is what the guest gets when an operator ends it.
func (t *task) powerGrace() time.Duration {
	if t.desired.GetPower().GetHard() {
		return 0
	}
	return t.grace()
}

// switched does what operators want of a virtual machine that runs, or keeps one
// that does not as it is. handled: nothing else is to be done to it now.
func (t *task) switched(action Action) (_ Action, act, handled bool) {
	switch {
	case t.running() && (t.off() || t.stale()):
		action.Kind, action.Grace = Stop, t.powerGrace()
		t.status.Phase = skerryv1.Phase_PHASE_STOPPING
		return action, true, true
	case t.off():
		t.status.Phase = skerryv1.Phase_PHASE_STOPPED
		t.status.Message = "it is switched off: skerry vm start " + t.desired.GetName()
		return Action{}, false, true
	case t.running() && t.halted() && !t.observed.Paused:
		action.Kind = Pause
		return action, true, true
	case t.running() && !t.halted() && t.observed.Paused:
		action.Kind = Resume
		return action, true, true
	case t.running() && t.misfitted():
		action.Kind, action.Spec = Adjust, SpecOf(t.desired)
		return action, true, true
	case t.running() && t.halted():
		t.status.Message = "it is paused: skerry vm resume " + t.desired.GetName()
		return Action{}, false, true
	case t.observed != nil && t.observed.State == runtime.Prepared && t.stale():
		action.Kind = Remove
		return action, true, true
	}
	return Action{}, false, false
}

// endedByPower takes in an end that an operator wanted; false: it was another.
func (t *task) endedByPower(now time.Duration) bool {
	if !t.off() && !t.stale() {
		return false
	}
	t.recordExit()
	t.notBefore, t.inARow = now, 0
	t.status.Message = ""
	return true
}
