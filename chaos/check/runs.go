package check

import (
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// startsWithin a time beyond its starting deadline a run is decided on.
const startsWithin = 15 * time.Second

// Runs follows the runs of jobs, entry by entry.
type Runs struct {
	jobs map[string]*job
	// attempts that were ever made, and whether they have ended.
	attempts map[string]bool
}

// job is one workload that runs to completion.
type job struct {
	last uint64
	due  time.Time
	// good and bad ends of the attempts of each run.
	good, bad map[uint64]uint32
}

// NewRuns returns a watcher that has seen nothing.
func NewRuns() *Runs { return &Runs{jobs: map[string]*job{}, attempts: map[string]bool{}} }

// Asked is what people know better than the site.
type Asked struct {
	// Workload as they last asked for it.
	Workload func(name string) *skerryv1.Workload
	// Exit tells with which code an attempt really ended; false when it did not end
	// by itself.
	Exit func(p *skerryv1.Placement) (code int32, ended bool)
}

// Observe looks at the state after an entry.
func (r *Runs) Observe(workloads []*skerryv1.Workload, placements []*skerryv1.Placement, asked Asked) *Violation {
	there := map[string]*skerryv1.Workload{}
	for _, w := range workloads {
		if manifest.IsJob(w) {
			there[w.GetName()] = w
		}
	}
	for name := range r.jobs {
		if there[name] == nil {
			delete(r.jobs, name)
		}
	}
	of := map[string][]*skerryv1.Placement{}
	for _, p := range placements {
		if p.GetRun() != 0 && there[p.GetWorkload()] != nil {
			of[p.GetWorkload()] = append(of[p.GetWorkload()], p)
		}
	}
	for _, w := range workloads {
		if there[w.GetName()] == nil {
			continue
		}
		if v := r.job(w, of[w.GetName()], asked); v != nil {
			return v
		}
	}
	return nil
}

func (r *Runs) job(w *skerryv1.Workload, all []*skerryv1.Placement, asked Asked) *Violation {
	j := r.jobs[w.GetName()]
	if j == nil {
		j = &job{good: map[uint64]uint32{}, bad: map[uint64]uint32{}}
		r.jobs[w.GetName()] = j
	}
	want := asked.Workload(w.GetName())
	if v := j.begun(w, want); v != nil {
		return v
	}
	for _, p := range all {
		if _, known := r.attempts[p.GetName()]; !known {
			r.attempts[p.GetName()] = false
			if v := attempt(p, w, want, all); v != nil {
				return v
			}
		}
		if p.GetEnded() == nil || r.attempts[p.GetName()] {
			continue
		}
		r.attempts[p.GetName()] = true
		if v := j.ended(p, asked); v != nil {
			return v
		}
	}
	for _, run := range w.GetStatus().GetRuns() {
		if n := run.GetNumber(); run.GetSucceeded() != j.good[n] || run.GetFailed() < j.bad[n] {
			return violated(Ends, "run %d of %s has %d succeeded and %d failed attempts, and there were %d and %d", n, w.GetName(),
				run.GetSucceeded(), run.GetFailed(), j.good[n], j.bad[n])
		}
	}
	return nil
}

// begun looks at runs that are new.
func (j *job) begun(w, want *skerryv1.Workload) *Violation {
	active, more := 0, false
	for _, run := range w.GetStatus().GetRuns() {
		if run.GetState() == skerryv1.RunState_RUN_STATE_ACTIVE {
			active++
		}
		if run.GetNumber() <= j.last {
			continue
		}
		j.last, more = run.GetNumber(), true
		if schedule := want.GetSchedule(); schedule != nil {
			due := run.GetDue().AsTime()
			if v := j.moment(w.GetName(), run, schedule); v != nil {
				return v
			}
			j.due = due
		}
	}
	most := 1
	if want.GetSchedule().GetConcurrency() == manifest.Allow {
		most = 10
	}
	if more && active > most {
		return violated(Moments, "%s has %d runs under way, and %q was asked for", w.GetName(), active, want.GetSchedule().GetConcurrency())
	}
	return nil
}

// moment: a run is for one of its schedule's, which had none yet and is not past.
func (j *job) moment(name string, run *skerryv1.Run, schedule *skerryv1.Schedule) *Violation {
	due, started := run.GetDue().AsTime(), run.GetStarted().AsTime()
	times, err := manifest.TimesOf(schedule)
	late, err2 := manifest.Duration(schedule.GetStartingDeadline())
	switch {
	case err != nil || err2 != nil:
		return violated(NoHalt, "the schedule of %s cannot be read: %v %v", name, err, err2)
	case !due.After(j.due):
		return violated(Moments, "%s runs for %s, after it ran for %s", name, due.Format(time.RFC3339Nano), j.due.Format(time.RFC3339Nano))
	case !times.Next(due.Add(-time.Nanosecond)).Equal(due):
		return violated(Moments, "%s runs for %s, which is not in its schedule", name, due.Format(time.RFC3339Nano))
	case started.Before(due):
		return violated(Moments, "%s runs for %s already at %s", name, due.Format(time.RFC3339Nano), started.Format(time.RFC3339Nano))
	case schedule.GetMissed() != manifest.RunOnce && started.Sub(due) > late+startsWithin:
		return violated(Moments, "%s runs for %s as late as %s", name, due.Format(time.RFC3339Nano), started.Format(time.RFC3339Nano))
	}
	return nil
}

// attempt looks at one that is new.
func attempt(p *skerryv1.Placement, w, want *skerryv1.Workload, all []*skerryv1.Placement) *Violation {
	var run *skerryv1.Run
	for _, one := range w.GetStatus().GetRuns() {
		if one.GetNumber() == p.GetRun() {
			run = one
		}
	}
	under := uint32(0)
	for _, other := range all {
		if other.GetRun() == p.GetRun() && other.GetEnded() == nil && other.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			under++
		}
	}
	asked := want.GetRunToCompletion()
	switch {
	case run.GetState() != skerryv1.RunState_RUN_STATE_ACTIVE:
		return violated(Attempts, "%s is an attempt of run %d, which is not under way", p.GetName(), p.GetRun())
	case run.GetFailed() > asked.GetRetries():
		return violated(Attempts, "%s is made after %d attempts have failed, and %d may be made up for", p.GetName(), run.GetFailed(), asked.GetRetries())
	case under > asked.GetParallelism() || run.GetSucceeded()+under > asked.GetCompletions():
		return violated(Attempts, "%s is attempt %d at once, after %d have succeeded; %d at once and %d in all were asked for", p.GetName(),
			under, run.GetSucceeded(), asked.GetParallelism(), asked.GetCompletions())
	}
	return nil
}

// ended: the site says how an attempt ended.
func (j *job) ended(p *skerryv1.Placement, asked Asked) *Violation {
	if p.GetStatus().GetPhase() != skerryv1.Phase_PHASE_STOPPED {
		j.bad[p.GetRun()]++
		return nil
	}
	j.good[p.GetRun()]++
	if code, ended := asked.Exit(p); !ended || code != 0 {
		return violated(Ends, "%s counts as done, and it is %v that it ended, with %d", p.GetName(), ended, code)
	}
	return nil
}

// Told that an agent was told that its report is in the log: of an attempt that
// ended, the state knows the end.
func Told(node string, p *skerryv1.Placement) *Violation {
	if p.GetRun() != 0 && p.GetEnded() == nil && p.GetNode() == node && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
		return violated(Ends, "%s has told that %s has ended, was told that this is known, and it is not", node, p.GetName())
	}
	return nil
}

// MadeOnce: an attempt is started once.
func MadeOnce(instance string, starts int) *Violation {
	if starts > 1 {
		return violated(Ends, "%s was started %d times", instance, starts)
	}
	return nil
}
