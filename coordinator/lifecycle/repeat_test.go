package lifecycle

import (
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWhatDidNotHelpIsNotAskedForInACircle(t *testing.T) {
	s := newSite(t, 1)
	s.applyWorkload(testWorkload("web", 1))
	proposes := func() int {
		s.core.Heard("n1", s.now)
		return len(s.core.Step(s.now, s.wall(), s.view(), Progress{}).Propose)
	}
	if first, again := proposes(), proposes(); first != 1 || again != 1 {
		t.Fatal("nothing is proposed for a workload without placements")
	}
	// The log moves on without the plan.
	s.join("n2", "b")
	if got := proposes(); got != 0 {
		t.Errorf("%d entries are proposed once more at once", got)
	}
	s.now += repeatAfter
	if first, again := proposes(), proposes(); first != 1 || again != 1 {
		t.Error("what got lost is not proposed again")
	}
	// Something else needs no patience.
	s.applyWorkload(testWorkload("more", 1))
	if proposes() != 1 {
		t.Error("a new workload has to wait")
	}
}

func TestAnIdleSiteWritesNothing(t *testing.T) {
	s := newSite(t, 4)
	s.applyWorkload(testWorkload("web", 3))
	s.applyWorkload(testWorkload("none", 1, func(w *skerryv1.Workload) { w.Container.Image = "unknown:1" }))
	s.pass(5 * time.Second)
	before := s.index
	s.pass(time.Minute)
	if s.index != before {
		t.Errorf("%d entries while nothing happened", s.index-before)
	}
}
