package reconcile

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// Pauses after an action that failed: they double from the first to the
	// last.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
	// A run of this length forgets the restarts before it.
	goodRun = time.Minute
	// orphanGrace is given to what no orders name.
	orphanGrace = 10 * time.Second
)

// task is one placement, or one leftover that nobody wants.
type task struct {
	id       string
	desired  *skerryv1.Placement
	observed *runtime.Instance
	busy     Kind
	// acted: an action ended during the present look at the truth.
	acted  bool
	status *skerryv1.PlacementStatus

	imageReady bool
	// runs seen by this process, and since when the present one is.
	seenRunning  bool
	adopted      bool
	runningSince time.Duration
	// restarts in a row, for the back-off.
	inARow    int
	notBefore time.Duration
	// failed actions in a row, and when the next one may be tried to bring it
	// to its end.
	failures     int
	endNotBefore time.Duration
	// outside: it must not run here, and why.
	outside string
	// refused is why it was not started, told what Refused has told of it.
	refused, told string
	// permit of an exclusive one.
	permit Permit
	// ended for good: its policy does not start it again.
	over bool
	// left: it was taken out of DNS before it is stopped.
	left bool
	// traces, such as logs, may be left also when there is no instance.
	traces bool
	// unknown: it is there, and nobody can tell how it is.
	unknown bool
	move

	health
}

func (t *task) running() bool { return t.observed != nil && t.observed.State == runtime.Running }

func (t *task) wanted() bool {
	return t.desired != nil && t.desired.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && !t.lapsed()
}

// gone: it was to stop, and nothing of it is left.
func (t *task) gone() bool {
	return t.desired != nil && !t.wanted() && t.observed == nil && t.busy == 0 && !t.held && !t.unseen && !t.traces
}

// undecided: it ran before this agent did, and whether it is healthy is not
// known yet; saying so would look like a change.
func (t *task) undecided() bool {
	if t.migration() != nil {
		return false
	}
	if t.unknown && t.observed == nil {
		return true
	}
	return t.adopted && t.wanted() && t.running() && t.healthConfig() != nil && !t.everChecked
}

func (t *task) desire(p *skerryv1.Placement) {
	if t.desired.GetImageDigest() != p.GetImageDigest() {
		t.imageReady = false
	}
	if t.desired.GetPower().GetCycle() != p.GetPower().GetCycle() {
		t.over = false // somebody wants it to run again
	}
	t.desired = p
	t.over = t.over || p.GetEnded() != nil
	if t.status.GetPhase() == skerryv1.Phase_PHASE_UNSPECIFIED {
		t.status.Phase = skerryv1.Phase_PHASE_ASSIGNED
	}
}

// observe takes in what the driver sees.
func (t *task) observe(instance *runtime.Instance, now time.Duration) {
	if t.unknown = instance != nil && instance.State == runtime.Unknown; t.unknown || t.busy != 0 || t.acted {
		return
	}
	was := t.running() || t.leaves()
	started := t.running()
	first := t.observed == nil && !t.seenRunning
	t.observed, t.unseen = instance, false
	t.traces = t.traces || instance != nil
	switch {
	case t.running() && !started:
		t.adopted = first
		t.startedRunning(now)
	case was && !t.running() && !t.leaves():
		t.ended(now)
	case first && instance != nil && instance.State == runtime.Exited:
		// It ended while nobody watched, as after a power cut: start it at once.
		if !t.endedByPower(now) {
			t.recordExit()
			t.decideRestart(now, now)
		}
	}
	if t.running() {
		t.status.Address, t.status.Accel = instance.Address, instance.Accel
	}
	if instance != nil && instance.State != runtime.Broken {
		t.status.Snapshots = snapshotsOf(instance)
	}
}

func (t *task) startedRunning(now time.Duration) {
	t.seenRunning = true
	t.runningSince = now
	t.failures = 0
	t.health = health{}
	t.status.Phase = skerryv1.Phase_PHASE_RUNNING
	t.status.Message = ""
	t.status.Readiness = skerryv1.Readiness_READINESS_UNSPECIFIED
	if t.healthConfig() != nil {
		t.status.Readiness = skerryv1.Readiness_READINESS_STARTING
	}
	if !t.observed.StartedAt.IsZero() {
		t.status.Started = timestamppb.New(t.observed.StartedAt)
	}
	t.status.Address = t.observed.Address
}

// ended: the instance ran and does not any more, by itself or because it was
// stopped for being unhealthy.
func (t *task) ended(now time.Duration) {
	if !t.wanted() || t.endedByPower(now) {
		return
	}
	t.recordExit()
	if now-t.runningSince >= goodRun {
		t.inARow = 0
	}
	t.decideRestart(now, now+t.backoff())
}

func (t *task) recordExit() {
	if exit := t.exit(); exit != nil {
		t.status.LastExit = exit
	}
	t.status.Readiness = skerryv1.Readiness_READINESS_UNSPECIFIED
	t.status.Address = ""
}

// exit of the run that ended; nil when nobody saw it, as after a power cut.
func (t *task) exit() *skerryv1.Exit {
	if t.observed == nil {
		return nil
	}
	return t.observed.Exit
}

func (t *task) decideRestart(now, at time.Duration) {
	exit := t.exit()
	failed := exit == nil || exit.GetCode() != 0 || exit.GetOomKilled() || t.unhealthy
	policy := t.desired.GetSpec().GetRestart().GetPolicy()
	if policy == "never" || (policy == "on-failure" && !failed) {
		t.over = true
		t.status.Phase = skerryv1.Phase_PHASE_STOPPED
		if failed {
			t.status.Phase = skerryv1.Phase_PHASE_FAILED
		}
		t.status.Message = t.why() + "; its restart policy is " + policy
		return
	}
	t.inARow++
	t.notBefore = at
	t.status.Restarts++
	t.status.Phase = skerryv1.Phase_PHASE_BACKOFF
	t.status.Message = t.why()
	if wait := at - now; wait > 0 {
		t.status.Message += fmt.Sprintf("; it is started again after %s", wait.Round(time.Millisecond))
	}
}

// why it ended, for people.
func (t *task) why() string {
	exit := t.exit()
	switch {
	case t.unhealthy:
		return "it was unhealthy: " + t.lastFailure
	case exit.GetOomKilled():
		return "it went above its memory limit and was killed: raise container.resources.memory or mend the leak"
	case exit == nil:
		return "it ended, nobody saw how"
	default:
		return fmt.Sprintf("its process ended with exit code %d", exit.GetCode())
	}
}

// backoff before the next start: it doubles with each restart in a row.
func (t *task) backoff() time.Duration {
	restart := t.desired.GetSpec().GetRestart()
	longest := duration(restart.GetMaxBackoff(), time.Minute)
	return min(longest, duration(restart.GetBackoff(), firstRetry)<<min(t.inARow, 20))
}

// next names the one next action, if there is one now.
func (t *task) next(now time.Duration) (Action, bool) {
	if t.busy != 0 || t.held || t.unseen || t.unknown || now < t.notBefore && t.wanted() {
		return Action{}, false
	}
	action := Action{ID: t.id}
	if !t.wanted() {
		if t.undecidedMove() {
			return Action{}, false
		}
		if t.lapsed() {
			t.status.Message = "its lease has ended: it is stopped, and another placement takes its place"
		}
		t.leave(now)
		if now < t.endNotBefore {
			return Action{}, false
		}
		return t.end(action)
	}
	if t.outside != "" && !t.running() {
		t.refuse()
		return Action{}, false
	}
	if act, must, handled := t.moves(action); handled {
		return act, must
	}
	if act, must, handled := t.switched(action); handled {
		return act, must
	}
	if t.observed == nil {
		if t.over {
			return Action{}, false
		}
		action.Spec = SpecOf(t.desired)
		action.Kind = Prepare
		if !t.imageReady {
			action.Kind = Fetch
		} else {
			t.traces = true
		}
		if t.status.GetPhase() != skerryv1.Phase_PHASE_BACKOFF {
			// One that comes up again says why until it runs.
			t.status.Phase = skerryv1.Phase_PHASE_PREPARING
		}
		return action, true
	}
	switch t.observed.State {
	case runtime.Prepared:
		action.Kind = Start
		if t.observed.SpecHash != SpecOf(t.desired).Hash() {
			action.Kind = Remove // of an attempt with another template
		} else if t.awaitsLease() {
			t.await()
			return Action{}, false
		}
		return action, true
	case runtime.Running:
		if t.awaitsLease() && !t.permit.Unknown {
			action.Kind = Stop // it should not be there
			return action, true
		}
		if t.unhealthy {
			action.Kind, action.Grace = Stop, t.grace()
			return action, true
		}
		return Action{}, false
	case runtime.Exited:
		action.Kind = Remove
		return action, !t.over
	default:
		action.Kind = Remove
		return action, true
	}
}

// end brings an unwanted instance to its end.
func (t *task) end(action Action) (Action, bool) {
	if t.observed == nil && !t.traces {
		if t.desired != nil {
			t.status.Phase = skerryv1.Phase_PHASE_STOPPED
		}
		return Action{}, false
	}
	t.status.Phase = skerryv1.Phase_PHASE_STOPPING
	if t.running() {
		action.Kind, action.Grace = Stop, t.grace()
		return action, true
	}
	action.Kind, action.Final = Remove, true
	return action, true
}

func (t *task) grace() time.Duration {
	grace := duration(t.desired.GetSpec().GetStopGrace(), orphanGrace)
	if t.lapsed() {
		return min(grace, t.permit.Left)
	}
	return grace
}

// done takes in what came of an action. On success the new state is known; the
// next look at the truth confirms it.
func (t *task) done(action Action, err error, now time.Duration) {
	t.busy = 0
	if err != nil {
		t.failures++
		t.notBefore = now + min(lastRetry, firstRetry<<min(t.failures-1, 10))
		if action.Kind == Stop || action.Kind == Remove {
			t.endNotBefore = t.notBefore
		}
		if t.wanted() {
			if action.Kind != Adjust { // which runs on as it is
				t.status.Phase = skerryv1.Phase_PHASE_BACKOFF
			}
			t.status.Message = shorten(fmt.Sprintf("could not %s: %v", action.Kind, err))
		}
		if action.Kind == Prepare {
			t.imageReady = false // it may have been the image: make sure of it
		}
		return
	}
	if !t.wanted() {
		t.failures = 0 // of what is wanted only a start ends the row
	}
	switch action.Kind {
	case Fetch:
		t.imageReady = true
	case Prepare:
		t.observed = &runtime.Instance{ID: t.id, SpecHash: action.Spec.Hash(), State: runtime.Prepared, Cycle: action.Spec.Cycle}
	case Start:
		t.observed.State = runtime.Running
		t.adopted = false
		t.startedRunning(now)
	case Stop:
		if t.running() {
			t.observed.State = runtime.Exited
			t.ended(now)
		}
	case Adjust:
		t.observed.SpecHash, t.observed.Devices = action.Spec.Hash(), action.Spec.DevicesHash()
		t.status.Message = ""
	case Pause, Resume:
		t.observed.Paused = action.Kind == Pause
		t.status.Message = ""
	case Remove:
		t.observed = nil
		t.traces = t.traces && !action.Final
	}
}

// wake is how long until something is due by time alone; 0 for never.
func (t *task) wake(now time.Duration) time.Duration {
	var wake time.Duration
	if t.busy == 0 && t.wanted() && t.notBefore > now {
		wake = t.notBefore - now
	}
	if t.busy == 0 && !t.wanted() && t.endNotBefore > now {
		wake = t.endNotBefore - now
	}
	if t.running() && t.wanted() && t.healthConfig() != nil && !t.checking {
		wake = sooner(wake, max(time.Millisecond, t.nextCheck-now))
	}
	return wake
}

// snapshotsOf an instance, as the site is told of them.
func snapshotsOf(instance *runtime.Instance) []*skerryv1.Snapshot {
	var all []*skerryv1.Snapshot
	for _, s := range instance.Snapshots {
		all = append(all, &skerryv1.Snapshot{Name: s.Name, Created: timestamppb.New(s.Created), Used: s.Used, Quiet: s.Quiet})
	}
	return all
}
