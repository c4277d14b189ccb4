package manifest

import skerryv1 "skerry.dev/shared/api/skerry/v1"

// Wanted is how many placements a workload should have now. Whoever needs to
// know asks here: what a workload declares is not the only thing that decides.
func Wanted(w *skerryv1.Workload) int {
	switch {
	case w.GetPerNode():
		return int(w.GetStatus().GetNodes())
	case IsJob(w):
		wanted := 0
		for _, run := range w.GetStatus().GetRuns() {
			wanted += WantedOf(w, run)
		}
		return wanted
	default:
		return int(w.GetReplicas())
	}
}

// WantedOf is how many placements one run of a job should have now.
func WantedOf(w *skerryv1.Workload, run *skerryv1.Run) int {
	if run.GetState() != skerryv1.RunState_RUN_STATE_ACTIVE {
		return 0
	}
	job := w.GetRunToCompletion()
	return max(0, min(int(job.GetParallelism()), int(job.GetCompletions())-int(run.GetSucceeded())))
}

// Asked is for how many placements a workload asks at most, as quotas count
// them. A schedule asks also while no run is under way; a job that is over asks
// for nothing.
func Asked(w *skerryv1.Workload) int {
	if !IsJob(w) {
		return Wanted(w)
	}
	active := len(ActiveRuns(w))
	if w.GetSchedule() != nil {
		active = max(1, active)
	}
	job := w.GetRunToCompletion()
	return active * int(min(job.GetParallelism(), job.GetCompletions()))
}

// IsJob tells whether the placements of a workload end by themselves.
func IsJob(w *skerryv1.Workload) bool { return w.GetRunToCompletion() != nil }

// ActiveRuns of a job, oldest first.
func ActiveRuns(w *skerryv1.Workload) []*skerryv1.Run {
	var active []*skerryv1.Run
	for _, run := range w.GetStatus().GetRuns() {
		if run.GetState() == skerryv1.RunState_RUN_STATE_ACTIVE {
			active = append(active, run)
		}
	}
	return active
}

// LastRun of a job; nil when there was none.
func LastRun(w *skerryv1.Workload) *skerryv1.Run {
	runs := w.GetStatus().GetRuns()
	if len(runs) == 0 {
		return nil
	}
	return runs[len(runs)-1]
}

// Form of a workload in a word or two. It cannot change while the workload
// exists.
func Form(w *skerryv1.Workload) string {
	switch {
	case w.GetPerNode():
		return "one on each node"
	case w.GetSchedule() != nil:
		return "scheduled job"
	case IsJob(w):
		return "job"
	default:
		return "replicas"
	}
}
