package sim

import "time"

// kernel holds simulated time and what is still to happen. Everything in a
// simulation happens inside one of its events, one after the other: there are
// no goroutines.
type kernel struct {
	now   time.Duration
	seq   uint64
	queue eventQueue
}

// event is one thing that happens. Events of the same time happen in the order
// in which they were scheduled.
type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

// after schedules do; a negative delay counts as none.
func (k *kernel) after(d time.Duration, do func()) {
	k.seq++
	k.queue.push(event{at: k.now + max(d, 0), seq: k.seq, do: do})
}

// runUntil lets events happen until the given time is reached, or stop says
// so. It returns the number of events.
func (k *kernel) runUntil(end time.Duration, stop func() bool) int {
	count := 0
	for len(k.queue) > 0 && k.queue[0].at <= end && !stop() {
		next := k.queue.pop()
		k.now = next.at
		next.do()
		count++
	}
	if !stop() {
		k.now = max(k.now, end)
	}
	return count
}

// eventQueue is a heap. It is written out because container/heap would put each
// event into a box of its own.
type eventQueue []event

func (e event) before(other event) bool {
	return e.at < other.at || e.at == other.at && e.seq < other.seq
}

func (q *eventQueue) push(e event) {
	*q = append(*q, e)
	at := len(*q) - 1
	for at > 0 {
		parent := (at - 1) / 2
		if !e.before((*q)[parent]) {
			break
		}
		(*q)[at] = (*q)[parent]
		at = parent
	}
	(*q)[at] = e
}

func (q *eventQueue) pop() event {
	first, last := (*q)[0], len(*q)-1
	moved := (*q)[last]
	(*q)[last] = event{} // let go of what the closure holds
	*q = (*q)[:last]
	if last > 0 {
		q.sink(moved)
	}
	return first
}

// sink puts an event at the top and lets it go down to its place.
func (q eventQueue) sink(e event) {
	at := 0
	for {
		child := 2*at + 1
		if child >= len(q) {
			break
		}
		if child+1 < len(q) && q[child+1].before(q[child]) {
			child++
		}
		if !q[child].before(e) {
			break
		}
		q[at] = q[child]
		at = child
	}
	q[at] = e
}
