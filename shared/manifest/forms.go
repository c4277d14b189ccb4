package manifest

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// What a schedule does when a run is due while another is under way, and about
// runs that could not begin in time.
const (
	Forbid  = "forbid"
	Replace = "replace"
	Allow   = "allow"

	Skip    = "skip"
	RunOnce = "runOnce"
)

const (
	maxRetries = 1000
	maxAfter   = 16
	longest    = 8760 * time.Hour
)

// defaultForm fills in what belongs to the form of a workload.
func defaultForm(w *skerryv1.Workload) {
	w.Status = nil // so that what the site shows can be edited and applied
	if w.Replicas == nil && !w.GetPerNode() && !IsJob(w) {
		w.Replicas = proto.Uint32(1)
	}
	if job := w.RunToCompletion; job != nil {
		set(&job.Completions, 1)
		set(&job.Parallelism, 1)
		if job.Retries == nil {
			job.Retries = proto.Uint32(3)
		}
		set(&job.Ttl, "24h")
	}
	if s := w.Schedule; s != nil {
		set(&s.TimeZone, "UTC")
		set(&s.Concurrency, Forbid)
		set(&s.Missed, Skip)
		set(&s.StartingDeadline, "1m")
	}
}

// defaultRestart of a job: a failed attempt is made up for by another
// placement, which may go elsewhere.
func defaultRestart(w *skerryv1.Workload) string {
	if IsJob(w) {
		return "never"
	}
	return "always"
}

func (v *validator) form(w *skerryv1.Workload) {
	switch {
	case w.GetPerNode() && IsJob(w):
		v.fail("perNode", "a workload either has one placement on each node or runs to completion").Hint = "leave one of them out"
	case w.Replicas != nil && w.GetPerNode():
		v.fail("replicas", "with perNode there is one placement on each node, not a number of them").Hint = "leave one of them out"
	case w.Replicas != nil && IsJob(w):
		v.fail("replicas", "a workload with a number of replicas does not run to completion").Hint =
			"leave replicas out; a job has completions and parallelism"
	case w.GetPerNode() && w.GetPartition().GetMode() == Replicate:
		v.fail("partition.mode", "what runs on each node stays there").Hint = "leave it out"
	}
	v.between("replicas", w.GetReplicas(), 0, maxReplicas)
	if IsJob(w) {
		v.job(w)
	}
	if w.GetSchedule() != nil {
		v.schedule(w)
	}
	v.after(w)
}

func (v *validator) job(w *skerryv1.Workload) {
	const field = "runToCompletion"
	job := w.GetRunToCompletion()
	v.between(field+".completions", job.GetCompletions(), 1, maxReplicas)
	v.between(field+".parallelism", job.GetParallelism(), 1, maxReplicas)
	v.between(field+".retries", job.GetRetries(), 0, maxRetries)
	if job.GetDeadline() != "" {
		v.duration(field+".deadline", job.GetDeadline(), time.Second, longest)
	}
	v.duration(field+".ttl", job.GetTtl(), 0, longest)
	if w.GetMinAvailable() != "" {
		v.fail("minAvailable", "a job ends by itself: nothing of it must stay healthy").Hint = "leave it out"
	}
	if w.GetRestart().GetPolicy() == "always" {
		v.fail("restart.policy", "a job that always starts again never ends").Hint = "leave it out, or on-failure to try again in place"
	}
}

func (v *validator) schedule(w *skerryv1.Workload) {
	s := w.GetSchedule()
	if !IsJob(w) {
		v.fail("schedule", "only what ends by itself can be started again and again").Hint = "add runToCompletion: true"
	}
	if _, err := ParseCron(s.GetCron()); err != nil {
		v.fail("schedule.cron", "%w", err)
	}
	if _, err := zoneOf(s.GetTimeZone()); err != nil {
		v.fail("schedule.timeZone", "%w", err)
	}
	v.oneOf("schedule.concurrency", s.GetConcurrency(), Forbid, Replace, Allow)
	v.oneOf("schedule.missed", s.GetMissed(), Skip, RunOnce)
	v.duration("schedule.startingDeadline", s.GetStartingDeadline(), time.Second, 24*time.Hour)
}

// after: whether the names exist, and wait for each other, only the site knows.
func (v *validator) after(w *skerryv1.Workload) {
	v.atMost("after", len(w.GetAfter()), maxAfter)
	for i, name := range w.GetAfter() {
		switch field := fmt.Sprintf("after[%d]", i); {
		case name == w.GetName():
			v.fail(field, "a workload cannot wait for itself")
		case slices.Contains(w.GetAfter()[:i], name):
			v.fail(field, "%s is there twice", shorten(name))
		default:
			v.name(field, name)
		}
	}
}
