package sim

import "time"

// strike where it runs, in one of the ways that a lease is for, or in several.
func (r *leaseRun) strike(n *leaseNode) {
	faults := []func(*leaseNode, time.Duration){r.cutOff, r.standStill, r.die, r.losePower, r.wrongClock, r.lateAnswer, r.follow}
	for range 1 + r.rng.IntN(3) {
		fault, hold := faults[r.rng.IntN(len(faults))], r.between(100*time.Millisecond, 14*time.Second)
		r.kernel.after(r.between(0, 6*time.Second), func() { fault(n, hold) })
	}
	if r.rng.IntN(4) == 0 { // the coordinator too
		lead := r.lead.host
		fault, hold := faults[r.rng.IntN(len(faults))], r.between(100*time.Millisecond, 14*time.Second)
		r.kernel.after(r.between(0, 6*time.Second), func() { fault(lead, hold) })
	}
}

func (r *leaseRun) cutOff(n *leaseNode, hold time.Duration) {
	n.cut++
	r.kernel.after(hold, func() { n.cut-- })
	r.replace(n)
}

// replace a coordinator that its voters do not hear: soon another one leads.
func (r *leaseRun) replace(n *leaseNode) {
	if r.lead.host != n {
		return
	}
	lead := r.lead
	r.kernel.after(r.between(500*time.Millisecond, 2*time.Second), func() {
		if r.lead == lead {
			r.elect()
		}
	})
}

// standStill as by SIGSTOP; what came due is done after, in order.
func (r *leaseRun) standStill(n *leaseNode, hold time.Duration) {
	n.pauses++
	r.replace(n)
	r.kernel.after(hold, func() {
		if n.pauses--; n.pauses > 0 || n.down || n.off > 0 {
			return
		}
		due := n.due
		n.due = nil
		for _, do := range due {
			do()
		}
	})
}

// die: the agent's process is killed, its guard and what runs are not.
func (r *leaseRun) die(n *leaseNode, hold time.Duration) {
	if n.down || n.off > 0 {
		return
	}
	n.down = true
	r.replace(n)
	r.kernel.after(hold, func() {
		n.down = false
		if n.off == 0 { // also when the machine was started anew meanwhile
			n.startAgent()
			n.look()
		}
	})
}

func (r *leaseRun) losePower(n *leaseNode, hold time.Duration) {
	n.off++
	n.running = ""
	r.replace(n)
	r.kernel.after(hold, func() {
		if n.off--; n.off == 0 {
			n.boot()
			n.look()
		}
	})
}

// wrongClock: its wall clock goes back, and it is cut off.
func (r *leaseRun) wrongClock(n *leaseNode, hold time.Duration) {
	n.wall -= r.between(0, 20*time.Second)
	r.cutOff(n, hold)
}

// lateAnswer: it stands still between a request and its answer, and is cut off when
// it goes on.
func (r *leaseRun) lateAnswer(n *leaseNode, hold time.Duration) {
	still := min(hold, askTime-time.Millisecond)
	if r.rng.IntN(2) == 0 {
		still = hold
	}
	n.inAsk = func() {
		r.standStill(n, still)
		r.kernel.after(still+time.Millisecond, func() { r.cutOff(n, 12*time.Second) })
	}
}

// follow one coordinator by another, twice.
func (r *leaseRun) follow(n *leaseNode, hold time.Duration) {
	r.cutOff(n, hold)
	for range 2 {
		r.kernel.after(r.between(100*time.Millisecond, 3*time.Second), r.elect)
	}
}
