package check

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestIssued(t *testing.T) {
	placement := func(node string, desired skerryv1.DesiredState, identity bool) *skerryv1.Placement {
		return &skerryv1.Placement{Name: "web-1", Node: node, Desired: desired, Spec: &skerryv1.Workload{Identity: identity}}
	}
	const run, stop = skerryv1.DesiredState_DESIRED_STATE_RUN, skerryv1.DesiredState_DESIRED_STATE_STOP
	for _, test := range []struct {
		name      string
		placement *skerryv1.Placement
		holds     bool
	}{
		{"one of its own", placement("n1", run, true), true},
		{"one of another node", placement("n2", run, true), false},
		{"one that waits for a node", placement("", run, true), false},
		{"one on its way out", placement("n1", stop, true), false},
		{"one that asks for none", placement("n1", run, false), false},
		{"none", nil, false},
	} {
		if got := Issued("n1", test.placement); (got == nil) != test.holds {
			t.Errorf("%s gave %v", test.name, got)
		}
	}
}
