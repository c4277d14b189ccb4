package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// form adds what is special about the form of a workload.
func (o *describeOptions) form(f *fields, w *skerryv1.Workload) {
	switch {
	case w.GetPerNode():
		f.add("Per node", fmt.Sprintf("one on each of %d nodes", manifest.Wanted(w)))
	case manifest.IsJob(w):
		job := w.GetRunToCompletion()
		f.add("Job", fmt.Sprintf("%s, %d at once, %d retries%s; kept for %s", plural(int(job.GetCompletions()), "completion"), job.GetParallelism(),
			job.GetRetries(), prefixed(", deadline ", job.GetDeadline()), job.GetTtl()))
	default:
		f.add("Replicas", fmt.Sprint(w.GetReplicas()))
	}
	if s := w.GetSchedule(); s != nil {
		f.add("Schedule", fmt.Sprintf("%s in %s; while one runs: %s; missed: %s after %s", s.GetCron(), s.GetTimeZone(),
			s.GetConcurrency(), s.GetMissed(), s.GetStartingDeadline()))
		f.add("Next run", o.nextRun(w))
	}
	f.add("After", strings.Join(w.GetAfter(), ", "))
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// nextRun of a schedule, as far as this machine's clock is right.
func (o *describeOptions) nextRun(w *skerryv1.Workload) string {
	times, err := manifest.TimesOf(w.GetSchedule())
	if err != nil {
		return err.Error()
	}
	from := o.Clock.Now()
	if followed := w.GetStatus().GetFollowed().AsTime(); followed.After(from) {
		from = followed
	}
	next := times.Next(from)
	if next.IsZero() {
		return "none within five years"
	}
	return next.Format(time.RFC3339)
}

// runTable shows the runs of a job, the newest first.
func (o *describeOptions) runTable(w *skerryv1.Workload) *table {
	t := newTable("RUN", "STATE", "RESULT", "DUE", "STARTED", "ENDED", "MESSAGE")
	for _, run := range slices.Backward(w.GetStatus().GetRuns()) {
		due, ended := "", ""
		if run.GetDue() != nil {
			due = run.GetDue().AsTime().Format(time.RFC3339)
		}
		if run.GetEnded() != nil {
			ended = o.since(run.GetEnded().AsTime()) + " ago"
		}
		t.row(fmt.Sprint(run.GetNumber()), manifest.Became(run), manifest.Counts(w, run), due,
			o.since(run.GetStarted().AsTime())+" ago", ended, run.GetMessage())
	}
	return t
}
