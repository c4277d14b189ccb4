package state

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// maxEndedRuns of one workload are remembered.
	maxEndedRuns = 10
	// maxActiveRuns of one workload at once.
	maxActiveRuns = 10
)

// settleJob starts the run of a new job, and of one whose template has changed.
// A schedule that is new or changed counts from now on.
func (x *tx) settleJob(present *skerryv1.Workload, change *workloadChange) {
	next := change.next
	if next.GetSchedule() != nil {
		if present == nil || !proto.Equal(present.GetSchedule(), next.GetSchedule()) {
			next.Status = shallowStatus(next)
			next.Status.Followed = x.time
		}
		x.judgeRuns(next)
		return
	}
	if present == nil || !SameTemplate(present, change.next) {
		x.replaceRuns(next)
		x.startRun(next, nil)
		return
	}
	// Other numbers may end the run, or let it go on.
	if last := manifest.LastRun(next); last.GetState() != skerryv1.RunState_RUN_STATE_REPLACED && byNumbers(next, last) != last.GetState() {
		run := proto.CloneOf(last)
		run.State, run.Ended, run.Message = skerryv1.RunState_RUN_STATE_ACTIVE, nil, ""
		x.judge(next, run)
		setRun(next, run)
	}
}

// byNumbers is what a run is by the numbers alone.
func byNumbers(w *skerryv1.Workload, run *skerryv1.Run) skerryv1.RunState {
	switch job := w.GetRunToCompletion(); {
	case run.GetSucceeded() >= job.GetCompletions():
		return skerryv1.RunState_RUN_STATE_SUCCEEDED
	case run.GetFailed() > job.GetRetries():
		return skerryv1.RunState_RUN_STATE_FAILED
	default:
		return skerryv1.RunState_RUN_STATE_ACTIVE
	}
}

// judgeRuns that are under way by the numbers of a workload that was changed.
func (x *tx) judgeRuns(w *skerryv1.Workload) {
	for _, active := range manifest.ActiveRuns(w) {
		run := proto.CloneOf(active)
		x.judge(w, run)
		setRun(w, run)
	}
}

// shallowStatus is a copy of what is known of a workload, with a list of runs
// of its own.
func shallowStatus(w *skerryv1.Workload) *skerryv1.WorkloadStatus {
	if w.GetStatus() == nil {
		return &skerryv1.WorkloadStatus{}
	}
	status := shallow(w.GetStatus())
	status.Runs = slices.Clone(w.GetStatus().GetRuns())
	return status
}

// startRun adds a run to a workload that nobody else holds. Of those that have
// ended the oldest are forgotten.
func (x *tx) startRun(w *skerryv1.Workload, due *timestamppb.Timestamp) {
	w.Status = shallowStatus(w)
	w.Status.LastRun++
	ended := 0
	for _, run := range w.Status.Runs {
		if run.GetState() != skerryv1.RunState_RUN_STATE_ACTIVE {
			ended++
		}
	}
	w.Status.Runs = slices.DeleteFunc(w.Status.Runs, func(run *skerryv1.Run) bool {
		old := run.GetState() != skerryv1.RunState_RUN_STATE_ACTIVE && ended > maxEndedRuns-1
		if old {
			ended--
		}
		return old
	})
	w.Status.Runs = append(w.Status.Runs, &skerryv1.Run{
		Number: w.Status.LastRun, Due: due, Started: x.time, State: skerryv1.RunState_RUN_STATE_ACTIVE,
	})
	x.inform(aboutWorkload(w), "RunStarted", "run %d", w.Status.LastRun)
}

func aboutWorkload(w *skerryv1.Workload) subject {
	return subject{kind: "Workload", project: w.GetProject(), name: w.GetName()}
}

// setRun replaces a run of a workload that nobody else holds.
func setRun(w *skerryv1.Workload, run *skerryv1.Run) {
	w.Status = shallowStatus(w)
	at := slices.IndexFunc(w.Status.Runs, func(r *skerryv1.Run) bool { return r.GetNumber() == run.GetNumber() })
	w.Status.Runs[at] = run
}

// activeRun of this number, nil when there is none.
func activeRun(w *skerryv1.Workload, number uint64) *skerryv1.Run {
	for _, run := range manifest.ActiveRuns(w) {
		if run.GetNumber() == number {
			return run
		}
	}
	return nil
}

// judge ends a run that has done its work, or in which too much has failed.
func (x *tx) judge(w *skerryv1.Workload, run *skerryv1.Run) {
	switch byNumbers(w, run) {
	case skerryv1.RunState_RUN_STATE_SUCCEEDED:
		x.endRun(w, run, skerryv1.RunState_RUN_STATE_SUCCEEDED, "")
	case skerryv1.RunState_RUN_STATE_FAILED:
		x.endRun(w, run, skerryv1.RunState_RUN_STATE_FAILED, "more attempts failed than it may retry")
	}
}

// endRun marks a run of which nobody else holds the record, and stops what is
// left of it.
func (x *tx) endRun(w *skerryv1.Workload, run *skerryv1.Run, state skerryv1.RunState, why string) {
	run.State, run.Ended, run.Message = state, x.time, why
	for _, p := range placements.by(x.rows, byWorkload, key(w.GetProject(), w.GetName())) {
		if p.GetRun() == run.GetNumber() && p.GetEnded() == nil {
			x.stop(p)
		}
	}
	about := aboutWorkload(w)
	switch state {
	case skerryv1.RunState_RUN_STATE_SUCCEEDED:
		x.inform(about, "RunSucceeded", "run %d: %d succeeded, %d failed", run.GetNumber(), run.GetSucceeded(), run.GetFailed())
	case skerryv1.RunState_RUN_STATE_REPLACED:
		x.inform(about, "RunReplaced", "run %d: %d succeeded, %d failed", run.GetNumber(), run.GetSucceeded(), run.GetFailed())
	default:
		x.warn(about, "RunFailed", "run %d: %s: %d succeeded, %d failed", run.GetNumber(), why, run.GetSucceeded(), run.GetFailed())
	}
}

// replaceRuns ends all runs that are under way.
func (x *tx) replaceRuns(w *skerryv1.Workload) {
	for _, active := range manifest.ActiveRuns(w) {
		run := proto.CloneOf(active)
		x.endRun(w, run, skerryv1.RunState_RUN_STATE_REPLACED, "")
		setRun(w, run)
	}
}

// attemptOver counts an attempt of a job that has ended, or of which nobody will
// know how it ended.
func (x *tx) attemptOver(p *skerryv1.Placement, done bool) {
	k := key(p.GetProject(), p.GetWorkload())
	record := workloads.get(x.rows, k)
	active := activeRun(record.GetWorkload(), p.GetRun())
	if active == nil {
		return
	}
	w, run := shallow(record.GetWorkload()), proto.CloneOf(active)
	if done {
		run.Succeeded++
	} else {
		run.Failed++
		run.FailedAt = x.time
	}
	x.judge(w, run)
	setRun(w, run)
	x.putStatus(record, w)
	delete(x.counted, countedRun(k, run.GetNumber()))
}

// putStatus keeps what the site knows of a workload; its version is that of what
// people asked for.
func (x *tx) putStatus(record *sitev1.WorkloadRecord, w *skerryv1.Workload) {
	x.count(w.GetProject(), record.GetWorkload(), w)
	workloads.put(x, &sitev1.WorkloadRecord{Workload: w, NextNumber: record.GetNextNumber()})
}

// planDue starts a run at a moment of a schedule, or notes that none is started.
func (x *tx) planDue(part *sitev1.RunDue) bool {
	record := workloads.get(x.rows, key(part.GetProject(), part.GetWorkload()))
	w := record.GetWorkload()
	due := part.GetDue()
	if x.halt != nil || w.GetSchedule() == nil || w.GetGeneration() != part.GetGeneration() || !due.IsValid() ||
		!later(due, w.GetStatus().GetFollowed()) || later(due, x.time) {
		return false
	}
	w = shallow(w)
	w.Status = shallowStatus(w)
	w.Status.Followed = due
	why := part.GetMissed()
	if why == "" {
		why = x.beginRun(w, record.GetWorkload(), due)
	}
	if why != "" {
		x.warn(aboutWorkload(w), "RunLeftOut", "the run due at %s: %s", due.AsTime().Format(time.RFC3339), why)
	}
	x.putStatus(record, w)
	return true
}

// startRunNow starts a run of a scheduled workload that somebody asks for. What
// the schedule has been followed to stays: the next run is due as before.
func (x *tx) startRunNow(change *sitev1.StartRun) (*sitev1.Outcome, error) {
	record := workloads.get(x.rows, key(change.GetProject(), change.GetWorkload()))
	w := record.GetWorkload()
	if w == nil {
		return nil, missing("Workload", bounded(change.GetWorkload(), maxName))
	}
	name := "Workload/" + w.GetName()
	switch {
	case w.GetSchedule() == nil && w.GetRunToCompletion() != nil:
		return nil, problem.New(problem.Conflict, name, "it has no schedule: it runs when it is applied, and again when its template changes").
			WithHint("give it a schedule to start runs of it, or delete and apply it again")
	case w.GetSchedule() == nil:
		return nil, problem.New(problem.Conflict, name, "it is no scheduled job: it has %s", inWords(w)).
			WithHint("skerry get workloads shows what runs to completion on a schedule")
	case x.halt != nil:
		return nil, problem.New(problem.Conflict, name, "the site is stopped, and nothing starts").WithHint("skerry site start starts it")
	}
	next := shallow(w)
	if why := x.beginRun(next, w, nil); why != "" {
		return nil, problem.New(problem.Conflict, name, "%s", why).
			WithHint("wait until that is over, or let schedule.concurrency be allow or replace; skerry describe workload %s -p %s shows its runs", w.GetName(), w.GetProject())
	}
	x.putStatus(record, next)
	return &sitev1.Outcome{Run: next.GetStatus().GetLastRun()}, nil
}

// beginRun starts a run of a scheduled workload that nobody else holds, unless
// it must not: then it says why.
func (x *tx) beginRun(w, before *skerryv1.Workload, due *timestamppb.Timestamp) string {
	active := manifest.ActiveRuns(w)
	switch concurrency := w.GetSchedule().GetConcurrency(); {
	case len(active) == 0:
	case concurrency == manifest.Replace:
		x.replaceRuns(w)
	case concurrency != manifest.Allow:
		return fmt.Sprintf("run %d is under way, and concurrency is %s", active[0].GetNumber(), concurrency)
	case len(active) >= maxActiveRuns:
		return fmt.Sprintf("%d runs are under way", len(active))
	default:
		more := shallow(w)
		more.Status = shallowStatus(w)
		more.Status.Runs = append(more.Status.Runs, &skerryv1.Run{State: skerryv1.RunState_RUN_STATE_ACTIVE})
		if err := x.grows(w.GetProject(), before, more); err != nil {
			return err.Error()
		}
	}
	x.startRun(w, due)
	return ""
}

// planOver ends a run that has gone past its deadline.
func (x *tx) planOver(part *sitev1.RunOver) bool {
	record := workloads.get(x.rows, key(part.GetProject(), part.GetWorkload()))
	active := activeRun(record.GetWorkload(), part.GetRun())
	deadline, err := manifest.Duration(record.GetWorkload().GetRunToCompletion().GetDeadline())
	if active == nil || err != nil || deadline == 0 || active.GetStarted().AsTime().Add(deadline).After(x.time.AsTime()) {
		return false
	}
	w, run := shallow(record.GetWorkload()), proto.CloneOf(active)
	x.endRun(w, run, skerryv1.RunState_RUN_STATE_FAILED, "it took longer than its deadline, "+w.GetRunToCompletion().GetDeadline())
	setRun(w, run)
	x.putStatus(record, w)
	return true
}

// followAgain lets schedules count from now on after site time was set back by
// so much that they would be silent for long. After less they wait until it is
// as late as it was, so that nothing runs twice.
func (x *tx) followAgain() {
	const little = 25 * time.Hour
	for _, record := range workloads.by(x.rows, byForm, scheduled) {
		if ahead := record.GetWorkload().GetStatus().GetFollowed().AsTime().Sub(x.time.AsTime()); ahead > little {
			w := shallow(record.GetWorkload())
			w.Status = shallowStatus(w)
			w.Status.Followed = x.time
			x.putStatus(record, w)
		}
	}
}
