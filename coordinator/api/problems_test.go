package api

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func TestWhatWaitsForANodeInMaintenanceIsNoProblem(t *testing.T) {
	waits := &skerryv1.Placement{
		Name: "db-2", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Decision: &skerryv1.Decision{Summary: "no node fits"},
		Spec: &skerryv1.Workload{
			Partition: &skerryv1.Partition{Mode: manifest.Stay},
			Place:     &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "name", In: []string{"n1"}}}},
		},
	}
	for duty, want := range map[skerryv1.Duty]string{
		skerryv1.Duty_DUTY_MAINTENANCE: "",
		skerryv1.Duty_DUTY_CORDONED:    "placement db-2 has no node: no node fits: skerry why db-2",
	} {
		nodes := []*skerryv1.Node{{Name: "n1", Duty: &skerryv1.NodeDuty{Duty: duty}}}
		if got := placementProblem(nodes, waits); got != want {
			t.Errorf("with %s it tells %q, want %q", duty, got, want)
		}
	}
}
