package lifecycle

import (
	"testing"
	"time"
)

// TestANodeThatComesAndGoesGetsNothingNewForAWhile: the first two losses may be
// a stumble, then the time doubles, also under a new coordinator.
func TestANodeThatComesAndGoesGetsNothingNewForAWhile(t *testing.T) {
	s := newSite(t, 2)
	flap := func() {
		s.nodes["n2"].off = true
		s.pass(3 * time.Second)
		s.nodes["n2"].off = false
		s.pass(3 * time.Second)
	}
	trusted := func() bool { return s.view().Node("n2").GetDistrust().GetUntil() == nil }
	s.pass(time.Second)
	flap()
	flap()
	if !trusted() {
		t.Error("it is not trusted after two losses")
	}
	for _, pause := range []time.Duration{time.Minute, 2 * time.Minute} {
		flap()
		s.newTerm()
		s.pass(pause - 5*time.Second)
		if trusted() {
			t.Errorf("it is trusted before %s are over", pause)
		}
		s.pass(10 * time.Second)
		if !trusted() {
			t.Errorf("it is not trusted after %s", pause)
		}
	}
	s.tick = time.Second
	s.pass(time.Hour)
	flap()
	if !trusted() {
		t.Error("losses of more than an hour ago count")
	}
}

func TestADistrustedNodeKeepsWhatItHas(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("db", 2, stays))
	s.pass(3 * time.Second)
	for range 3 {
		s.nodes["n2"].off = true
		s.pass(3 * time.Second)
		s.nodes["n2"].off = false
		s.pass(3 * time.Second)
	}
	s.applyWorkload(testWorkload("web", 2))
	s.applyWorkload(testWorkload("db", 2, stays, args("new")))
	s.pass(3 * time.Second)
	s.want("db-3 on n1", "db-4 on n2", "web-1 on n1", "web-2 on n1")
}

// TestADistrustedNodeIsBetterThanNone: what finds room nowhere else goes there at
// once.
func TestADistrustedNodeIsBetterThanNone(t *testing.T) {
	s := newSite(t, 2)
	s.pass(3 * time.Second)
	for range 3 {
		s.nodes["n2"].off = true
		s.pass(3 * time.Second)
		s.nodes["n2"].off = false
		s.pass(3 * time.Second)
	}
	s.duty("n1", cordoned)
	s.applyWorkload(testWorkload("web", 1))
	s.pass(3 * time.Second)
	s.want("web-1 on n2")
}
