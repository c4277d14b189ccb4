package manifest

import (
	"fmt"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Progress of a job for people: `run 7 is under way: succeeded 3/5, failed 1`.
func Progress(w *skerryv1.Workload) string {
	run := LastRun(w)
	if run == nil {
		return "it has not run yet"
	}
	text := fmt.Sprintf("run %d %s: %s", run.GetNumber(), Became(run), Counts(w, run))
	if run.GetMessage() != "" {
		text += ": " + run.GetMessage()
	}
	return text
}

// Counts of a run: `succeeded 3/5, failed 1`.
func Counts(w *skerryv1.Workload, run *skerryv1.Run) string {
	text := fmt.Sprintf("succeeded %d/%d", run.GetSucceeded(), w.GetRunToCompletion().GetCompletions())
	if run.GetFailed() > 0 {
		text += fmt.Sprintf(", failed %d", run.GetFailed())
	}
	return text
}

// Became says what became of a run.
func Became(run *skerryv1.Run) string {
	if run.GetState() == skerryv1.RunState_RUN_STATE_ACTIVE {
		return "is under way"
	}
	became := strings.ToLower(strings.TrimPrefix(run.GetState().String(), "RUN_STATE_"))
	if run.GetState() == skerryv1.RunState_RUN_STATE_REPLACED {
		return "was " + became
	}
	return "has " + became
}
