package state

import (
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// setPower says what a virtual machine should be. It stays so: over restarts of
// its node, and whether or not there is a coordinator.
func (x *tx) setPower(change *sitev1.SetPower) (*sitev1.Outcome, error) {
	old := placements.get(x.rows, key(change.GetProject(), change.GetPlacement()))
	if old == nil {
		return nil, missing("Placement", change.GetPlacement())
	}
	about := "Placement/" + old.GetName()
	switch {
	case old.GetSpec().GetVm() == nil:
		return nil, problem.New(problem.Invalid, about, "it is a container, not a virtual machine").
			WithHint("replicas: 0 in its workload stops it")
	case old.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || old.GetEnded() != nil:
		return nil, problem.New(problem.Conflict, about, "it is being removed")
	}
	if change.GetMigrate() {
		return x.migrate(old, change.GetTo())
	}
	if copying(old) {
		return nil, problem.New(problem.Conflict, about, "it is on its way to %s", otherOf(old)).WithHint("wait until it is there")
	}
	next := powerOf(old)
	was := next.GetState()
	if change.GetRestart() {
		if was == skerryv1.PowerState_POWER_STATE_OFF {
			return nil, problem.New(problem.Conflict, about, "it is off").WithHint("skerry vm start %s", old.GetName())
		}
		next.Cycle++
		next.Hard, next.State = change.GetHard(), skerryv1.PowerState_POWER_STATE_ON
		x.inform(aboutPlacement(old), "PowerChanged", "%s", map[bool]string{true: "reset", false: "restart"}[change.GetHard()])
	} else {
		if err := checkPower(about, was, change.GetState()); err != nil {
			return nil, err
		}
		if next.State = change.GetState(); was == next.State {
			return &sitev1.Outcome{}, nil
		}
		next.Hard = change.GetHard()
		x.inform(aboutPlacement(old), "PowerChanged", "%s", powerWord(next.GetState()))
	}
	p := shallow(old)
	p.Power = next
	x.putPlacement(p)
	return &sitev1.Outcome{}, nil
}

// powerOf a placement, to be changed.
func powerOf(p *skerryv1.Placement) *skerryv1.Power {
	if p.GetPower() == nil {
		return &skerryv1.Power{}
	}
	return shallow(p.GetPower())
}

func checkPower(about string, was, next skerryv1.PowerState) error {
	switch next {
	case skerryv1.PowerState_POWER_STATE_ON, skerryv1.PowerState_POWER_STATE_OFF:
		return nil
	case skerryv1.PowerState_POWER_STATE_PAUSED:
		if was == skerryv1.PowerState_POWER_STATE_OFF {
			return problem.New(problem.Conflict, about, "it is off")
		}
		return nil
	default:
		return problem.New(problem.Invalid, about, "there is no power state %d", next).WithField("state")
	}
}

func powerWord(state skerryv1.PowerState) string {
	return strings.ToLower(strings.TrimPrefix(state.String(), "POWER_STATE_"))
}

// powerVerb is what the audit log calls a change of power.
func powerVerb(change *sitev1.SetPower) string {
	switch {
	case change.GetMigrate():
		return "migrate"
	case change.GetRestart() && change.GetHard():
		return "reset"
	case change.GetRestart():
		return "restart"
	default:
		return "power-" + powerWord(change.GetState())
	}
}
