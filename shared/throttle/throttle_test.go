package throttle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// clock stands still until it is moved.
type clock struct {
	env.Clock
	now time.Duration
}

func (c *clock) Elapsed() time.Duration { return c.now }

func limited() (*Throttle, *clock) {
	c := &clock{}
	return New(Limits{PerSecond: 10, Burst: 5, Running: 3, Callers: 4}, c), c
}

func TestCallsPerSecond(t *testing.T) {
	throttle, c := limited()
	taken := func(who string, calls int) int {
		count := 0
		for range calls {
			leave, after, err := throttle.Enter(who)
			if err != nil {
				if problem.KindOf(err) != problem.Exhausted || after <= 0 || !strings.Contains(err.Error(), "try again in") {
					t.Fatalf("refused with %v after %s", err, after)
				}
				continue
			}
			leave()
			count++
		}
		return count
	}
	if got := taken("kim", 20); got != 5 {
		t.Errorf("at once %d calls are taken, not the burst of 5", got)
	}
	c.now += 300 * time.Millisecond
	if got := taken("kim", 20); got != 3 {
		t.Errorf("after 300ms %d more are taken, not 3", got)
	}
	if got := taken("mia", 20); got != 5 {
		t.Errorf("another caller has %d, not a burst of its own", got)
	}
	c.now += time.Hour
	if got := taken("kim", 20); got != 5 {
		t.Errorf("after a long pause %d are taken, not the burst of 5", got)
	}
}

func TestCallsAtOnce(t *testing.T) {
	throttle, c := limited()
	var leave func()
	for range 3 {
		var err error
		if leave, _, err = throttle.Enter("kim"); err != nil {
			t.Fatal(err)
		}
	}
	c.now += time.Second
	if _, _, err := throttle.Enter("kim"); problem.KindOf(err) != problem.Exhausted || !strings.Contains(err.Error(), "3 calls of this caller are running") {
		t.Errorf("a fourth gave %v", err)
	}
	leave()
	if _, _, err := throttle.Enter("kim"); err != nil {
		t.Errorf("after one has left: %v", err)
	}
}

func TestCallersAreBounded(t *testing.T) {
	first, _ := limited()
	for n := range 4 {
		if _, _, err := first.Enter(fmt.Sprint("busy-", n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := first.Enter("late"); problem.KindOf(err) != problem.Exhausted {
		t.Errorf("a fifth caller gave %v", err)
	}
	throttle, c := limited()
	for n := range 1000 {
		leave, _, err := throttle.Enter(fmt.Sprint("idle-", n))
		if err != nil {
			t.Fatal(err)
		}
		leave()
		c.now += time.Second
	}
	if len(throttle.callers) > 4 {
		t.Errorf("%d callers are remembered", len(throttle.callers))
	}
}
