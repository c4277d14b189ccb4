package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	rolling = skerryv1.RevisionState_REVISION_STATE_ROLLING
	good    = skerryv1.RevisionState_REVISION_STATE_GOOD
	failed  = skerryv1.RevisionState_REVISION_STATE_FAILED
	aborted = skerryv1.RevisionState_REVISION_STATE_ABORTED
)

// steerRollout changes the course of a rollout, as somebody asked.
func (x *tx) steerRollout(change *sitev1.SteerRollout) (*sitev1.Outcome, error) {
	k := key(change.GetProject(), change.GetWorkload())
	w := workloads.get(x.rows, k).GetWorkload()
	if w == nil {
		return nil, missing("Workload", bounded(change.GetWorkload(), maxName))
	}
	if err := checkVersion("Workload/"+w.GetName(), change.GetResourceVersion(), w.GetResourceVersion()); err != nil {
		return nil, err
	}
	s := &steering{tx: x, w: w, rollout: x.rollout(k), change: change}
	if err := s.carryOut(); err != nil {
		return nil, err
	}
	return &sitev1.Outcome{Applied: []*skerryv1.AppliedResource{{
		Resource: &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: workloads.get(x.rows, k).GetWorkload()}},
		Outcome:  outcomeConfigured,
	}}}, nil
}

// steering is one change of the course of one rollout.
type steering struct {
	*tx
	w       *skerryv1.Workload
	rollout Rollout
	change  *sitev1.SteerRollout
}

func (s *steering) carryOut() error {
	switch s.change.GetAction() {
	case skerryv1.SteerAction_STEER_ACTION_PAUSE:
		return s.pause()
	case skerryv1.SteerAction_STEER_ACTION_RESUME:
		return s.resume()
	case skerryv1.SteerAction_STEER_ACTION_PROMOTE:
		return s.promote()
	case skerryv1.SteerAction_STEER_ACTION_ABORT:
		return s.abort()
	case skerryv1.SteerAction_STEER_ACTION_ROLL_BACK:
		return s.rollBack()
	default:
		return problem.New(problem.Invalid, s.name(), "there is no such action").WithField("action").
			WithHint("a rollout can be paused, resumed, promoted and aborted, and a workload rolled back")
	}
}

func (s *steering) name() string { return "Workload/" + s.w.GetName() }

func (s *steering) about() subject {
	return subject{kind: "Workload", project: s.w.GetProject(), name: s.w.GetName()}
}

func (s *steering) conflict(format string, args ...any) *problem.Error {
	return problem.New(problem.Conflict, s.name(), format, args...)
}

// idle refuses to steer what is done.
func (s *steering) idle() error {
	return s.conflict("nothing is rolled out: generation %d is good", s.w.GetGeneration()).
		WithHint("skerry rollback %s goes back to an earlier one", s.w.GetName())
}

func (s *steering) set(change func(*skerryv1.Revision)) {
	s.changeNewest(s.w.GetProject(), s.w.GetName(), change)
}

func (s *steering) pause() error {
	if s.rollout.Done() {
		return s.idle()
	}
	s.set(func(r *skerryv1.Revision) { r.Paused = true })
	s.inform(s.about(), "RolloutPaused", "generation %d stays where it is until somebody resumes it", s.w.GetGeneration())
	return nil
}

// resume what is paused or has failed: the deadline counts afresh.
func (s *steering) resume() error {
	switch {
	case s.rollout.Done():
		return s.idle()
	case !s.rollout.Paused() && s.rollout.Newest.GetState() == rolling:
		return s.conflict("generation %d is neither paused nor failed", s.w.GetGeneration())
	}
	s.set(func(r *skerryv1.Revision) {
		r.Paused = false
		s.turn(r, rolling, "")
	})
	s.inform(s.about(), "RolloutResumed", "generation %d goes on", s.w.GetGeneration())
	return nil
}

func (s *steering) promote() error {
	if s.rollout.Done() {
		return s.idle()
	}
	if !s.rollout.Beside(s.w) {
		return s.conflict("generation %d does not wait to be promoted", s.w.GetGeneration())
	}
	if healthy, target := s.healthyBeside(), s.rollout.target(s.w); healthy < target {
		return s.conflict("%d of the %d new placements are healthy", healthy, target).
			WithHint("skerry why %s says what is wrong with the others; skerry rollout abort %s goes back", s.w.GetName(), s.w.GetName())
	}
	s.promoted("somebody asked for it")
	return nil
}

// healthyBeside counts the new placements that could take over.
func (s *steering) healthyBeside() int {
	healthy := 0
	for _, p := range placements.by(s.rows, byWorkload, key(s.w.GetProject(), s.w.GetName())) {
		if Counts(p) && IsHealthy(p) && p.GetGeneration() == s.w.GetGeneration() {
			healthy++
		}
	}
	return healthy
}

func (s *steering) promoted(why string) {
	s.set(func(r *skerryv1.Revision) {
		r.Promoted, r.Paused = true, false
		s.turn(r, rolling, "promoted")
	})
	s.inform(s.about(), "RolloutPromoted", "generation %d takes the place of the one before: %s", s.w.GetGeneration(), why)
}

func (s *steering) abort() error {
	if s.rollout.Done() {
		return s.idle()
	}
	to := s.rollout.Goal()
	if to == nil {
		return s.conflict("there is no other template that was good to go back to").
			WithHint("skerry rollout pause %s stops it where it is; apply a manifest that works", s.w.GetName())
	}
	s.set(func(r *skerryv1.Revision) { s.turn(r, aborted, "somebody ended it") })
	s.warn(s.about(), "RolloutAborted", "generation %d goes no further", s.w.GetGeneration())
	return s.goBack(to, false)
}

func (s *steering) rollBack() error {
	to := s.rollout.Goal()
	if generation := s.change.GetGeneration(); generation != 0 {
		to = revisionOf(revisions.get(s.rows, key(s.w.GetProject(), s.w.GetName())), generation)
		if to == nil {
			return problem.New(problem.NotFound, s.name(), "the template of generation %d is not remembered", generation).
				WithField("generation").WithHint("skerry history %s lists those that are", s.w.GetName())
		}
	}
	if to == nil {
		return s.conflict("there is no other template that was good to go back to").
			WithHint("skerry history %s lists what there is; --to takes any of them", s.w.GetName())
	}
	if SameTemplate(to.GetTemplate(), s.w) {
		return s.conflict("it has the template of generation %d already", to.GetGeneration()).
			WithHint("skerry history %s lists others", s.w.GetName())
	}
	return s.goBack(to, false)
}

// goBack declares the workload anew, with the template of an earlier revision,
// which is known: it waits for nobody. Where blue and green take turns it takes
// its turn as always, unless what it leaves never was live.
func (s *steering) goBack(to *skerryv1.Revision, automatic bool) error {
	served := s.rollout.Done() || !s.rollout.Beside(s.w)
	next := withTemplate(s.w, to.GetTemplate())
	next.ResourceVersion = 0
	if _, err := s.applyWorkload(next); err != nil {
		return err
	}
	now := workloads.get(s.rows, key(s.w.GetProject(), s.w.GetName())).GetWorkload()
	s.set(func(r *skerryv1.Revision) {
		r.RollbackTo, r.Automatic = to.GetGeneration(), automatic
		r.Promoted = !served || !isBlueGreen(now)
	})
	s.warn(s.about(), "RolledBack", "generation %d has the template of generation %d again", now.GetGeneration(), to.GetGeneration())
	return nil
}
