package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestWhatDecidesWherePlacementsGo: what waits is looked at again after these
// changes, and not after others.
func TestWhatDecidesWherePlacementsGo(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*site)
		decides bool
	}{
		{"a placement runs", func(s *site) { s.report("n1", "web-1", running, false) }, false},
		{"another reason to wait", func(s *site) {
			s.want(0, &sitev1.Plan{Postpone: []*sitev1.Postponement{{Project: "default", Placement: "web-2", Decision: &skerryv1.Decision{Summary: "no room"}}}})
		}, false},
		{"a placement is to stop", func(s *site) { s.ok(deleteEntry("Placement", "web-1")) }, true},
		{"a placement gets a node", func(s *site) { s.want(0, assigns(assign("web-2", "n1"))) }, true},
		{"one more placement", func(s *site) { s.want(0, creates(create("web", 1))) }, true},
		{"another size", func(s *site) { s.ok(applyEntry(testWorkload("web", 4))) }, true},
		{"a node is lost", func(s *site) { s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST) }, true},
	} {
		s := newSite(t, 2)
		s.ok(applyEntry(testWorkload("web", 3)))
		s.want(0, creates(create("web", 1), create("web", 1)))
		s.want(0, assigns(assign("web-1", "n1")))
		before := s.store.View().PlacingIndex()
		test.change(s)
		if after := s.store.View().PlacingIndex(); after > before != test.decides {
			t.Errorf("%s: the index was %d and is %d", test.name, before, after)
		}
	}
}
