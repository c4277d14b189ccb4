// Package throttle bounds what one caller takes of a server: calls per second,
// and calls at once. It keeps one small record a caller, and never more than a
// fixed number of them.
package throttle

import (
	"math"
	"sync"
	"time"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// Limits of one caller.
type Limits struct {
	// PerSecond calls on average, Burst at once after a pause.
	PerSecond, Burst float64
	// Running calls at a time.
	Running int
	// Callers that are remembered. Who is idle is forgotten first.
	Callers int
}

// Throttle is safe for concurrent use.
type Throttle struct {
	limits Limits
	clock  env.Clock

	mu      sync.Mutex
	callers map[string]*caller
}

// caller has tokens as of a time; each call takes one.
type caller struct {
	tokens  float64
	at      time.Duration
	running int
}

// New returns a throttle that has seen nobody.
func New(limits Limits, clock env.Clock) *Throttle {
	return &Throttle{limits: limits, clock: clock, callers: map[string]*caller{}}
}

// Enter lets a call begin, or refuses it and says when to come again. The
// caller leaves when the call is over.
func (t *Throttle) Enter(who string) (leave func(), retryAfter time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.of(who)
	if err != nil {
		return nil, time.Second, err
	}
	t.refill(c)
	if c.running >= t.limits.Running {
		return nil, time.Second, problem.New(problem.Exhausted, who, "%d calls of this caller are running, which is the most", c.running).
			WithHint("nothing was changed; wait for some of them to end")
	}
	if c.tokens < 1 {
		after := time.Duration(math.Ceil((1 - c.tokens) / t.limits.PerSecond * float64(time.Second)))
		return nil, after, problem.New(problem.Exhausted, who, "more than %.0f calls a second came from this caller", t.limits.PerSecond).
			WithHint("nothing was changed; try again in %s, and call less often", after.Round(time.Millisecond))
	}
	c.tokens--
	c.running++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		c.running--
	}, 0, nil
}

// of a caller, the record.
func (t *Throttle) of(who string) (*caller, error) {
	if c := t.callers[who]; c != nil {
		return c, nil
	}
	if len(t.callers) >= t.limits.Callers {
		t.forgetIdle()
	}
	if len(t.callers) >= t.limits.Callers {
		return nil, problem.New(problem.Exhausted, who, "%d callers are busy, which is the most", len(t.callers)).
			WithHint("nothing was changed; try again in a second")
	}
	c := &caller{tokens: t.limits.Burst, at: t.clock.Elapsed()}
	t.callers[who] = c
	return c, nil
}

func (t *Throttle) refill(c *caller) {
	now := t.clock.Elapsed()
	c.tokens = min(t.limits.Burst, c.tokens+(now-c.at).Seconds()*t.limits.PerSecond)
	c.at = now
}

// forgetIdle callers: a new record would be the same.
func (t *Throttle) forgetIdle() {
	for who, c := range t.callers {
		if t.refill(c); c.running == 0 && c.tokens >= t.limits.Burst {
			delete(t.callers, who)
		}
	}
}
