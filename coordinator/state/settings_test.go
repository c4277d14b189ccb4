package state

import (
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestSettingsHoldUntilTheyAreDeleted(t *testing.T) {
	s := newSite(t, 1)
	if got := s.store.View().Settings(); got.GetName() != "site" || got.GetLifetimes().GetNode() != "90d" {
		t.Errorf("before anybody said anything they are %v", got)
	}
	given := func(name, node string) *skerryv1.Settings {
		return &skerryv1.Settings{Kind: "Settings", Name: name, Lifetimes: &skerryv1.Lifetimes{Node: node}}
	}
	s.ok(declareEntry(given("site", "48h")))
	if got := s.store.View().Lifetimes(); got.Node != 48*time.Hour || got.Workload != 14*24*time.Hour {
		t.Errorf("they are %v", got)
	}
	s.restart()
	if got := s.store.View().Lifetimes(); got.Node != 48*time.Hour {
		t.Errorf("after a snapshot they are %v", got)
	}
	s.refused("invalid", declareEntry(given("other", "48h")))
	s.ok(removeEntry("Settings", "", "site"))
	if got := s.store.View().Lifetimes(); got.Node != 90*24*time.Hour {
		t.Errorf("after they were deleted they are %v", got)
	}
	s.refused("not_found", removeEntry("Settings", "", "site"))
}
