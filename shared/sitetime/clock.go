package sitetime

import (
	"slices"
	"time"
)

const (
	// Slack is how far site time may be ahead of the monotonic clocks without
	// an operator's word (SAFETY, rule 14).
	Slack = time.Hour
	// slowdown: site time that is ahead of the voters' clocks loses one part in
	// this many until they have caught up.
	slowdown = 10
)

// Stamp is one reading of site time.
type Stamp struct {
	Time time.Time
	// Reference is what the time would be, had it run on monotonic clocks alone
	// since an operator last confirmed it. Time is at most Slack ahead of it.
	Reference time.Time
	// Era counts how often an operator has set site time.
	Era uint64
}

// Known tells whether anybody has said what the time is, in this era; else it is
// a time at which nothing has expired.
func (s Stamp) Known() bool { return s.Time.UTC().Year() > 1970 }

// Newer tells whether a reading counts more than another one: by era, then by
// time.
func (s Stamp) Newer(than Stamp) bool {
	if s.Era != than.Era {
		return s.Era > than.Era
	}
	return s.Time.After(than.Time)
}

// Clock is site time on one machine. Between stamps it runs on the machine's
// monotonic clock, whose readings are handed in.
type Clock struct {
	last Stamp
	at   time.Duration
}

// Start returns a clock that shows a stamp at the given reading of the
// monotonic clock.
func Start(stamp Stamp, elapsed time.Duration) Clock { return Clock{last: stamp, at: elapsed} }

// At is site time now.
func (c *Clock) At(elapsed time.Duration) Stamp {
	passed := c.passed(elapsed)
	return Stamp{Time: c.last.Time.Add(passed), Reference: c.last.Reference.Add(passed), Era: c.last.Era}
}

// Last is the newest stamp.
func (c *Clock) Last() Stamp { return c.last }

func (c *Clock) passed(elapsed time.Duration) time.Duration { return max(0, elapsed-c.at) }

// Observe takes over a stamp of the coordinator unless a newer one is known.
func (c *Clock) Observe(stamp Stamp, elapsed time.Duration) {
	if !stamp.Newer(c.last) {
		return
	}
	if stamp.Era == c.last.Era && stamp.Reference.Before(c.last.Reference) {
		stamp.Reference = c.last.Reference
	}
	c.last, c.at = stamp, elapsed
}

// Reach takes over a stamp of the log, of which nobody knows how old it is: it is
// at least as late as that.
func (c *Clock) Reach(stamp Stamp, elapsed time.Duration) {
	if stamp.Newer(c.At(elapsed)) {
		c.Observe(stamp, elapsed)
	}
}

// Advance makes the next stamp; only the coordinator does. clocks are the wall
// clocks of the voters that are known, voters is how many there are.
//
// It follows the middle of the clocks when a majority of them is known, never
// back, and never more than Slack ahead of the reference. When the clocks are
// behind it runs slower until they have caught up, unless they are so far
// behind that they are wrong: then it runs on.
func (c *Clock) Advance(clocks []time.Time, voters int, elapsed time.Duration) Stamp {
	passed := c.passed(elapsed)
	next := c.At(elapsed)
	if low, high, ok := Middle(clocks, voters); ok {
		switch {
		case next.Time.Before(low):
			next.Time = low
		case next.Time.After(high) && next.Time.Sub(high) <= Slack:
			next.Time = later(high, c.last.Time.Add(passed-passed/slowdown))
		}
	}
	if limit := next.Reference.Add(Slack); next.Time.After(limit) {
		next.Time = limit
	}
	next.Time = later(next.Time, c.last.Time)
	c.last, c.at = next, elapsed
	return next
}

// Middle is where the median of the voters' clocks lies: with an odd number of
// known clocks both ends are the same; with an even number they are the two in
// the middle, and whatever is between them is as good. With fewer than a
// majority known there is none: who has just been elected must not follow its
// own clock alone.
func Middle(clocks []time.Time, voters int) (low, high time.Time, ok bool) {
	if len(clocks) == 0 || len(clocks) <= voters/2 {
		return time.Time{}, time.Time{}, false
	}
	sorted := slices.SortedFunc(slices.Values(clocks), time.Time.Compare)
	return sorted[(len(sorted)-1)/2], sorted[len(sorted)/2], true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
