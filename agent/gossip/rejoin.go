package gossip

import (
	"slices"
	"time"
)

const (
	// Pauses between attempts to reach one missing peer: they double from the
	// first to the last, and the last goes on for ever.
	firstRetry = 2 * time.Second
	lastRetry  = 30 * time.Second
	// maxJoins at once; the others come next time.
	maxJoins = 4
)

// Rejoin decides whom to call to make the pool whole again. Neither memberlist
// (30 s) nor Serf (24 h) goes on for ever after a cut; this does. It is pure.
type Rejoin struct {
	missing map[string]*missing
}

// missing is a peer that ought to be in the pool.
type missing struct {
	next  time.Duration
	pause time.Duration
}

// NewRejoin returns a Rejoin that has tried nobody yet.
func NewRejoin() *Rejoin { return &Rejoin{missing: map[string]*missing{}} }

// Step returns the names of the peers in the book to call now: those that are
// not alive in the pool, each with its own growing pause. random spreads the
// calls of many nodes that lost each other at the same moment.
func (r *Rejoin) Step(now time.Duration, alive map[string]bool, book []string, random uint64) []string {
	known := map[string]bool{}
	var call []string
	for _, name := range slices.Sorted(slices.Values(book)) {
		known[name] = true
		if alive[name] {
			delete(r.missing, name)
			continue
		}
		m := r.missing[name]
		if m == nil {
			m = &missing{next: now, pause: firstRetry}
			r.missing[name] = m
		}
		if now < m.next || len(call) == maxJoins {
			continue
		}
		call = append(call, name)
		jitter := time.Duration(random % uint64(m.pause/2+1))
		m.next = now + m.pause + jitter
		m.pause = min(lastRetry, 2*m.pause)
		random = random>>8 | random<<56 // another jitter for the next one
	}
	for name := range r.missing {
		if !known[name] {
			delete(r.missing, name)
		}
	}
	return call
}
