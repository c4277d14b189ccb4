package guard

import (
	"time"

	"skerry.dev/shared/problem"
)

const (
	// maxGuarded placements at once.
	maxGuarded = 256
	// again is the pause between two attempts to kill, and recheck that between two
	// looks at what is gone: something that was being started may come late.
	again   = 20 * time.Millisecond
	recheck = 50 * time.Millisecond
	// rare is the pause between such looks when nothing has come for long.
	rare = time.Second
)

// Entry is one guarded placement.
type Entry struct {
	// ID of the instance.
	ID string
	// Target says what to kill.
	Target string
	// Until is when its lease ends, Kill when it is killed. Both on CLOCK_BOOTTIME.
	Until, Kill time.Duration
	// Ended: it was told to be killed; its lease is over for good.
	Ended bool
	// Ran: something of it was found when it was ended, or after.
	Ran bool
	// Thawed: the agent is at work and removes what is left, which the runtime cannot
	// do while it is frozen. What comes late is still killed.
	Thawed bool

	// gone: nothing of it was left at the last look, at.
	gone bool
	at   time.Duration
}

// Core decides when to kill. It is pure: no clock, no I/O.
type Core struct {
	// Watchdog is how long the machine's watchdog takes to reset it; 0 for none.
	Watchdog time.Duration

	entries []Entry
}

// Margin is how long before its end a lease is given up, so that nothing is left
// when it ends.
func Margin(lease time.Duration) time.Duration {
	return min(max(lease/10, 500*time.Millisecond), 2*time.Second)
}

func (c *Core) find(id string) *Entry {
	for i := range c.entries {
		if c.entries[i].ID == id {
			return &c.entries[i]
		}
	}
	return nil
}

// Arm guards a placement until its lease ends, or for longer than before. It
// returns when it is killed unless it is armed again.
func (c *Core) Arm(id, target string, until, lease, now time.Duration) (time.Duration, error) {
	kill := until - Margin(lease) - c.Watchdog
	e := c.find(id)
	switch {
	case c.Watchdog > lease/2:
		return 0, problem.New(problem.Conflict, "", "the machine's watchdog takes %s, which is too long for a lease of %s", c.Watchdog, lease)
	case e != nil && e.Ended, now >= kill:
		return 0, problem.New(problem.Conflict, "", "its lease has ended")
	case e == nil && len(c.entries) == maxGuarded:
		return 0, problem.New(problem.Exhausted, "", "the guard holds %d placements, which is all it can", maxGuarded)
	case e == nil:
		c.entries = append(c.entries, Entry{ID: id})
		e = &c.entries[len(c.entries)-1]
	case kill < e.Kill:
		return e.Kill, nil
	}
	e.Target, e.Until, e.Kill = target, until, kill
	return kill, nil
}

// Anew guards what was ended before it began, under a lease that was granted
// after. The agent must know that it never let it begin. The guard itself must have
// seen, since it was thawed, that nothing of it is there: what is still being killed
// lives on for nobody. A request of an agent that is long dead changes nothing: its
// lease is older than the one that ended.
func (c *Core) Anew(id, target string, until, lease, now time.Duration) (time.Duration, error) {
	e := c.find(id)
	if e == nil || !e.Ended {
		return c.Arm(id, target, until, lease, now)
	}
	if until <= e.Until {
		return 0, problem.New(problem.Conflict, "", "its lease has ended")
	}
	if !e.Thawed || !e.gone || e.at == 0 {
		return 0, problem.New(problem.Conflict, "", "its lease has ended, and something of it may be left")
	}
	ended := *e
	*e = Entry{ID: id}
	kill, err := c.Arm(id, target, until, lease, now)
	if err != nil {
		*e = ended
	}
	return kill, err
}

// Drop forgets a placement of which nothing is left.
func (c *Core) Drop(id string) {
	for i := range c.entries {
		if c.entries[i].ID == id {
			c.entries = append(c.entries[:i], c.entries[i+1:]...)
			return
		}
	}
}

// Thaw lets the runtime remove what was killed.
func (c *Core) Thaw(id string) {
	if e := c.find(id); e != nil && e.Ended {
		e.Thawed, e.at = true, 0
	}
}

// Entries that are guarded. They must not be changed.
func (c *Core) Entries() []Entry { return c.entries }

// Step names those to kill now, those first that were not named before, and after
// how long to ask again at the latest; 0 for when something happens. reset: one that
// cannot be killed keeps the machine from what was promised, and only its watchdog
// helps.
func (c *Core) Step(now time.Duration) (kill []string, reset bool, wake time.Duration) {
	var once []string
	sooner := func(d time.Duration) {
		if wake == 0 || d < wake {
			wake = max(d, time.Millisecond)
		}
	}
	for i := range c.entries {
		e := &c.entries[i]
		if now < e.Kill {
			sooner(e.Kill - now)
			continue
		}
		// Those that are tried again soon are due at the same moments: a step waits for
		// the kernel, once for all of them.
		pause, next := again, e.at.Truncate(again)+again
		if e.gone && !e.Thawed {
			pause = min(max(recheck, (now-e.Kill)/32), rare)
			next = e.at + pause
		}
		switch {
		case !e.Ended:
			e.Ended = true
			kill = append(kill, e.ID)
		case now >= next:
			once = append(once, e.ID)
		}
		sooner(pause)
		reset = reset || !e.gone && c.Watchdog > 0 && now >= e.Until-c.Watchdog
	}
	return append(kill, once...), reset, wake
}

// Killed tells whether something of a placement was found, and whether nothing of
// it is left.
func (c *Core) Killed(id string, found, gone bool, now time.Duration) {
	if e := c.find(id); e != nil {
		e.Ran = e.Ran || found
		e.gone, e.at = gone, now
	}
}

// Restore what an earlier guard of this run of the machine held.
func (c *Core) Restore(entries []Entry) {
	c.entries = append(c.entries[:0], entries[:min(len(entries), maxGuarded)]...)
}
