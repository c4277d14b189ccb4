package lease

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"skerry.dev/agent/guard"
	"skerry.dev/shared/problem"
)

const (
	// tellAgain is the pause before the guard is told again of what it did not take
	// over.
	tellAgain = 250 * time.Millisecond
	// refusedFor this long, people are told of it: what is looked at a moment later is
	// no trouble.
	refusedFor = 3 * time.Second
)

// Arm is what a guard is to be told.
type Arm struct {
	ID      string
	Machine bool
	// Anew: the guard ended it, and it had never begun on this node.
	Anew         bool
	Until, Lease time.Duration
}

// Knows tells what the guard holds now. What it does not hold, because it is
// another one, it is told again; until then the leases end when they would have.
// What it has ended is over, unless it never began. It tells whether something is
// over by that.
func (h *Holder) Knows(guarded []guard.Entry) bool {
	some := false
	entries := map[string]guard.Entry{}
	for _, e := range guarded {
		entries[e.ID] = e
	}
	for id, hold := range h.held {
		e := entries[id]
		hold.told, hold.ended = min(hold.told, e.Until), e.Ended
		if e.Ended && hold.begun && !hold.over {
			hold.over, some = true, true
		}
	}
	return some
}

// Untold are the leases that the guard is to be told of now. What runs goes first,
// and what the guard did not take over the last time goes last.
func (h *Holder) Untold(now time.Duration) []Arm {
	var arms []Arm
	for _, id := range slices.Sorted(maps.Keys(h.held)) {
		if hold := h.held[id]; !hold.over && hold.until > max(hold.told, now) && now >= hold.again {
			arms = append(arms, Arm{ID: id, Machine: hold.machine, Anew: hold.ended, Until: hold.until, Lease: hold.lease})
		}
	}
	slices.SortStableFunc(arms, func(a, b Arm) int { return cmp.Compare(h.rank(a.ID), h.rank(b.ID)) })
	return arms
}

func (h *Holder) rank(id string) int {
	switch hold := h.held[id]; {
	case hold.refused != "":
		return 2
	case !hold.begun:
		return 1
	default:
		return 0
	}
}

// Tell a guard of leases, one after the other, and take in what came of each. What
// it refuses keeps nothing else from being told. When it does not answer, the rest
// waits for another time, and what it did not answer for comes last then.
func Tell(arms []Arm, tell func(Arm) (kill time.Duration, err error), took func(arm Arm, kill time.Duration, err error)) {
	for _, arm := range arms {
		kill, err := tell(arm)
		took(arm, kill, err)
		if err != nil && problem.KindOf(err) == problem.Unavailable {
			return
		}
	}
}

// Took tells what came of telling the guard: when it kills, or why it does not take
// the lease over. It returns whether that is news.
func (h *Holder) Took(arm Arm, kill time.Duration, err error, now time.Duration) bool {
	hold := h.held[arm.ID]
	switch {
	case hold == nil:
		return false
	case err != nil:
		was := hold.refused
		if was == "" {
			hold.since = now
		}
		hold.refused, hold.again = err.Error(), now+tellAgain
		return hold.refused != was
	}
	hold.refused, hold.ended = "", false
	if arm.Until <= hold.until && arm.Until > hold.told {
		hold.told, hold.kill = arm.Until, kill
	}
	return true
}

// Refused are the placements whose leases the guard has not taken over for a while,
// sorted, and why.
func (h *Holder) Refused(now time.Duration) (ids, whys []string) {
	for _, id := range slices.Sorted(maps.Keys(h.held)) {
		if hold := h.held[id]; hold.refused != "" && !hold.over && now-hold.since >= refusedFor {
			ids, whys = append(ids, id), append(whys, hold.refused)
		}
	}
	return ids, whys
}
