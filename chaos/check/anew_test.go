package check

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWhatANodeRunsIsAdopted(t *testing.T) {
	const run, stop = skerryv1.DesiredState_DESIRED_STATE_RUN, skerryv1.DesiredState_DESIRED_STATE_STOP
	on := func(node string, desired skerryv1.DesiredState) *skerryv1.Placement {
		return &skerryv1.Placement{Name: "web-1", Node: node, Desired: desired, Spec: &skerryv1.Workload{}}
	}
	job := on("n1", run)
	job.Spec.RunToCompletion = &skerryv1.RunToCompletion{}
	for name, test := range map[string]struct {
		runs, known, now *skerryv1.Placement
		broken           bool
	}{
		"one that was not known":                       {runs: on("n1", run), now: on("n1", run)},
		"one that was known":                           {runs: on("n1", run), known: on("n1", run), now: on("n1", run)},
		"one that was to end already":                  {runs: on("n1", run), known: on("n1", stop), now: on("n1", stop)},
		"one whose node knows that it is to end":       {runs: on("n1", stop)},
		"an attempt of a run that is not known":        {runs: job},
		"one that is forgotten":                        {runs: on("n1", run), broken: true},
		"one that was known and is forgotten":          {runs: on("n1", run), known: on("n1", run), broken: true},
		"one that is ended by it":                      {runs: on("n1", run), known: on("n1", run), now: on("n1", stop), broken: true},
		"one whose name another one has on other node": {runs: on("n1", run), known: on("n2", run), now: on("n2", run), broken: true},
	} {
		t.Run(name, func(t *testing.T) {
			if v := Adopted("n1", test.runs, test.known, test.now); (v != nil) != test.broken {
				t.Errorf("it says %v", v)
			}
		})
	}
}
