package reconcile

import (
	"fmt"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestImagesThatDoNotComeHoldUpNothingElse(t *testing.T) {
	c := New()
	placement := func(name string) *skerryv1.Placement {
		return &skerryv1.Placement{
			Project: "default", Name: name, Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
			Spec: &skerryv1.Workload{Container: &skerryv1.Container{Image: name}},
		}
	}
	ready := placement("zz-ready")
	c.Desire([]*skerryv1.Placement{ready})
	actions, _ := c.Step(0)
	c.Done(actions[0], nil, 0) // its image is there
	all := []*skerryv1.Placement{ready}
	for i := range 2 * maxActions {
		all = append(all, placement(fmt.Sprintf("far-%02d", i)))
	}
	c.Desire(all)
	fetches, others := 0, 0
	actions, _ = c.Step(0)
	for _, action := range actions {
		if action.Kind == Fetch {
			fetches++
		} else {
			others++
		}
	}
	if fetches != maxFetches || others != 1 {
		t.Fatalf("%d images are fetched and %d other actions begin", fetches, others)
	}
	for _, action := range actions {
		c.Done(action, nil, 0)
	}
	if actions, _ = c.Step(0); len(actions) != maxActions {
		t.Errorf("after that, %d actions begin, want %d", len(actions), maxActions)
	}
}
