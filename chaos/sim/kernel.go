package sim

import (
	"container/heap"
	"time"
)

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
	heap.Push(&k.queue, event{at: k.now + max(d, 0), seq: k.seq, do: do})
}

// runUntil lets events happen until the given time is reached, or stop says
// so. It returns the number of events.
func (k *kernel) runUntil(end time.Duration, stop func() bool) int {
	count := 0
	for len(k.queue) > 0 && k.queue[0].at <= end && !stop() {
		next := heap.Pop(&k.queue).(event)
		k.now = next.at
		next.do()
		count++
	}
	if !stop() {
		k.now = max(k.now, end)
	}
	return count
}

type eventQueue []event

func (q eventQueue) Len() int      { return len(q) }
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q eventQueue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].seq < q[j].seq
}

func (q *eventQueue) Push(x any) { *q = append(*q, x.(event)) }

func (q *eventQueue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = event{} // let go of what the closure holds
	*q = (*q)[:last]
	return e
}
