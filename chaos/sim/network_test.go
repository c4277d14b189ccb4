package sim

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// twoHosts is a network of two hosts that run.
func twoHosts() (*kernel, *network) {
	k := &kernel{}
	n := newNetwork(k, newTrace(k), rand.New(rand.NewPCG(1, 1)), 2)
	up := func(int) bool { return true }
	n.hostUp, n.processUp = up, up
	return k, n
}

func never() bool { return false }

func TestEventsHappenInOrderOfTimeThenOfScheduling(t *testing.T) {
	k := &kernel{}
	var got []int
	k.after(2*time.Second, func() { got = append(got, 3) })
	k.after(time.Second, func() {
		got = append(got, 1)
		k.after(0, func() { got = append(got, 2) })
	})
	k.after(2*time.Second, func() { got = append(got, 4) })
	k.after(time.Hour, func() { got = append(got, 5) })
	if count := k.runUntil(time.Minute, never); count != 4 {
		t.Errorf("%d events happened within the minute, want 4", count)
	}
	if want := []int{1, 2, 3, 4}; !slices.Equal(got, want) || k.now != time.Minute {
		t.Errorf("happened %v at the end %v, want %v at 1m0s", got, k.now, want)
	}
}

func TestDatagramsOfAPoorLinkAreLostDoubledAndReordered(t *testing.T) {
	k, n := twoHosts()
	n.bad[0][1] = 1
	var got []int
	for i := range 1000 {
		k.after(time.Duration(i)*time.Millisecond, func() {
			n.datagram(0, 1, 0, func() { got = append(got, i) })
		})
	}
	k.runUntil(time.Minute, never)
	distinct := slices.Compact(slices.Sorted(slices.Values(got)))
	if lost := 1000 - len(distinct); lost < 100 || lost > 200 {
		t.Errorf("%d of 1000 were lost, want about 150", lost)
	}
	if len(got) == len(distinct) || slices.IsSorted(got) {
		t.Error("nothing was doubled, or nothing overtook anything")
	}
}

// Who opens a stream that the other end refuses hears what it says, and that it has ended.
func TestAStreamIsOpenBeforeAnythingComesThroughIt(t *testing.T) {
	k, n := twoHosts()
	for range 50 {
		var got []string
		accept := func(s *stream) func() {
			s.send(1, 0, func() { got = append(got, "heard") })
			s.close(1)
			return nil
		}
		n.dial(0, 1, accept, func(s *stream) {
			got = append(got, "open")
			s.ends[0].onClose = func() { got = append(got, "closed") }
		})
		k.runUntil(k.now+time.Minute, never)
		if want := []string{"open", "heard", "closed"}; !slices.Equal(got, want) {
			t.Fatalf("it saw %v, want %v", got, want)
		}
	}
}

func TestADatagramOnItsWayIsStoppedByACut(t *testing.T) {
	k, n := twoHosts()
	n.datagram(0, 1, 0, func() { t.Error("it arrived") })
	n.cuts[0][1]++
	k.runUntil(time.Second, never)
}

func open(t *testing.T, k *kernel, n *network, broken func()) *stream {
	t.Helper()
	var s *stream
	n.dial(0, 1, func(*stream) func() { return broken }, func(opened *stream) { s = opened })
	k.runUntil(k.now+100*time.Millisecond, never)
	if s == nil {
		t.Fatal("the stream did not open")
	}
	return s
}

func TestAStreamKeepsItsOrderOverAPoorLinkAndAShortCut(t *testing.T) {
	k, n := twoHosts()
	s := open(t, k, n, func() {})
	n.bad[0][1], n.bad[1][0] = 1, 1
	var got []int
	for i := range 200 {
		k.after(time.Duration(i)*10*time.Millisecond, func() { s.send(0, 0, func() { got = append(got, i) }) })
		k.after(time.Duration(i)*10*time.Millisecond, func() { s.send(1, 0, func() {}) })
	}
	k.after(300*time.Millisecond, func() { n.cuts[0][1]++ })
	k.after(900*time.Millisecond, func() { n.cuts[0][1]-- })
	k.runUntil(time.Minute, never)
	if len(got) != 200 || !slices.IsSorted(got) {
		t.Errorf("%d of 200 arrived, in order: %v", len(got), slices.IsSorted(got))
	}
}

func TestAStreamBreaksWhenItIsCutForLong(t *testing.T) {
	k, n := twoHosts()
	broken := time.Duration(0)
	s := open(t, k, n, func() { broken = k.now })
	start := k.now
	n.cuts[0][1]++
	s.send(0, 0, func() { t.Error("it arrived") })
	k.runUntil(time.Minute, never)
	if took := broken - start; took < idleLimit-time.Second || took > idleLimit+time.Second {
		t.Errorf("the other end broke after %v, want about %v", took, idleLimit)
	}
	if !s.ends[0].closed || len(n.streams[0])+len(n.streams[1]) != 0 {
		t.Error("the near end is still open")
	}
}

func TestTheDeathOfAProcessIsToldAtOnceAndThatOfAHostIsNot(t *testing.T) {
	for _, silent := range []bool{false, true} {
		k, n := twoHosts()
		broken := time.Duration(0)
		open(t, k, n, func() { broken = k.now })
		start := k.now
		n.hangUp(0, silent)
		k.runUntil(time.Minute, never)
		if late := broken-start > time.Second; late != silent {
			t.Errorf("silent %v: the other end learned of it after %v", silent, broken-start)
		}
	}
}

func TestDialingFailsWhereNothingAnswers(t *testing.T) {
	k, n := twoHosts()
	n.cuts[1][0]++
	failed := time.Duration(-1)
	n.dial(0, 1, func(*stream) func() { return nil }, func(s *stream) {
		if s == nil {
			failed = k.now
		}
	})
	k.runUntil(time.Minute, never)
	if failed != dialTimeout {
		t.Errorf("failed at %v, want %v", failed, dialTimeout)
	}
}
