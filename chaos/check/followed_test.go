package check

import (
	"testing"
	"time"
)

func TestACoordinatorInReachIsFollowed(t *testing.T) {
	type look struct {
		at          time.Duration
		coordinator string
		follows     bool
		heard       time.Duration
	}
	for _, test := range []struct {
		name   string
		looks  []look
		broken bool
	}{
		{"it has come in time", []look{{0, "n2 in term 3", false, 0}, {4 * time.Second, "n2 in term 3", false, 0}, {6 * time.Second, "n2 in term 3", true, 0}}, false},
		{"it does not come", []look{{0, "n2 in term 3", false, 0}, {4 * time.Second, "n2 in term 3", false, 0}, {6 * time.Second, "n2 in term 3", false, 0}}, true},
		{"it did not reach it in between", []look{{0, "n2 in term 3", false, 0}, {4 * time.Second, "", false, 0}, {6 * time.Second, "n2 in term 3", false, 0}}, false},
		{"it was with it in between", []look{{0, "n2 in term 3", false, 0}, {4 * time.Second, "n2 in term 3", true, 0}, {6 * time.Second, "n2 in term 3", false, 0}}, false},
		{"there was another one in between", []look{{0, "n2 in term 3", false, 0}, {4 * time.Second, "n1 in term 4", false, 0}, {6 * time.Second, "n1 in term 4", false, 0}}, false},
		{"it does not come to the other one", []look{{0, "n2 in term 3", false, 0}, {1 * time.Second, "n1 in term 4", false, 0}, {7 * time.Second, "n1 in term 4", false, 0}}, true},
		{"it was alone for long", []look{{10 * time.Second, "n2 in term 3", false, 0}, {30 * time.Second, "n2 in term 3", false, 0}}, false},
		{"it was alone for a moment", []look{{10 * time.Second, "n2 in term 3", false, 9 * time.Second}, {30 * time.Second, "n2 in term 3", false, 9 * time.Second}}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := NewFollowing(3*time.Second, 5*time.Second)
			var found *Violation
			for _, l := range test.looks {
				if v := f.Look(l.at, "n1", l.coordinator, l.heard, l.follows); v != nil {
					found = v
				}
			}
			if (found != nil) != test.broken {
				t.Errorf("found %v", found)
			}
			if found != nil && found.Rule != Followed {
				t.Errorf("it is a violation of %q", found.Rule)
			}
		})
	}
}
