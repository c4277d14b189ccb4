package reconcile

import (
	"testing"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestANodeRefusesWhatMustBeKeptElsewhere, whatever its orders say.
func TestANodeRefusesWhatMustBeKeptElsewhere(t *testing.T) {
	here := &skerryv1.Node{Name: "n1", Zone: "hall-b", Labels: map[string]string{"country": "se"}}
	for _, test := range []struct {
		name   string
		node   *skerryv1.Node
		keepIn *skerryv1.Requirement
		says   string
	}{
		{"it is in the zone", here, &skerryv1.Requirement{Label: "zone", In: []string{"hall-a", "hall-b"}}, ""},
		{"it has the label", here, &skerryv1.Requirement{Label: "country", NotIn: []string{"us"}}, ""},
		{"it is in another zone", here, &skerryv1.Requirement{Label: "zone", In: []string{"hall-a"}},
			"it must be kept where label zone is hall-a, and here it is hall-b: this node does not start it"},
		{"it has no such label", here, &skerryv1.Requirement{Label: "law", In: []string{"gdpr"}},
			"it must be kept where label law is gdpr, and this node has no such label: it does not start it"},
		{"it does not know where it is", nil, &skerryv1.Requirement{Label: "zone", In: []string{"hall-a"}},
			"it must be kept where label zone is hall-a, and this node has no such label: it does not start it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := New()
			c.Locate(test.node)
			p := &skerryv1.Placement{Project: "default", Name: "db-1", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
				Spec: &skerryv1.Workload{Container: &skerryv1.Container{Image: "db:1"}, Place: &skerryv1.Place{KeepIn: []*skerryv1.Requirement{test.keepIn}}}}
			c.Desire([]*skerryv1.Placement{p})
			c.Observe(nil, 0)
			actions, _ := c.Step(0)
			status := c.Status("default", "db-1")
			if refused := status.GetPhase() == skerryv1.Phase_PHASE_FAILED; refused != (test.says != "") || status.GetMessage() != test.says || refused == (len(actions) > 0) {
				t.Errorf("%d actions, %v, want %q", len(actions), status, test.says)
			}
			c.Step(0)
			refused := c.Refused()
			if again := c.Refused(); len(again) != 0 || (len(refused) == 1) != (test.says != "") || test.says != "" && refused[0] != (Refusal{"default", "db-1", test.says}) {
				t.Errorf("it tells of %v, then of %v", refused, again)
			}
			// Moved to where it may be, it starts; what runs goes on when it is moved away.
			c.Locate(&skerryv1.Node{Zone: "hall-a", Labels: map[string]string{"country": "no", "law": "gdpr"}})
			c.Desire([]*skerryv1.Placement{p})
			if actions, _ := c.Step(0); test.says != "" && len(actions) == 0 {
				t.Error("it does not start where it may be")
			}
			other := New()
			other.Locate(test.node)
			other.Desire([]*skerryv1.Placement{p})
			other.Observe([]runtime.Instance{{ID: InstanceID("default", "db-1"), State: runtime.Running}}, 0)
			for range 2 {
				if actions, _ := other.Step(0); len(actions) > 0 {
					t.Errorf("what runs is touched: %v", actions)
				}
			}
		})
	}
}
