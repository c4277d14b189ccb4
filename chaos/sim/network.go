package sim

import (
	"math/rand/v2"
	"time"
)

// quality of a link, in one direction.
type quality struct {
	delay, jitter   time.Duration
	loss, duplicate float64
}

var (
	// healthy is a switched local network.
	healthy = quality{delay: 200 * time.Microsecond, jitter: 800 * time.Microsecond, loss: 0.0005, duplicate: 0.0005}
	// poor is a bad radio link: late, lossy, and with messages overtaking each
	// other.
	poor = quality{delay: 5 * time.Millisecond, jitter: 60 * time.Millisecond, loss: 0.15, duplicate: 0.05}
)

// network carries messages between hosts: datagrams that may be lost, doubled
// and reordered, and streams that are ordered and break.
type network struct {
	kernel *kernel
	rng    *rand.Rand
	trace  *trace
	// cuts counts the faults that block a direction; a direction is open at 0.
	cuts [][]int
	// bad counts the faults that make a direction poor.
	bad [][]int
	// hostUp and processUp tell what answers at a host.
	hostUp, processUp func(host int) bool
	// paused: the process at a host stands still; awake does something there as soon
	// as it does not.
	paused func(host int) bool
	awake  func(host int, do func())
	// streams that a host has an open end of, in the order of their opening.
	streams [][]*stream
}

func newNetwork(k *kernel, t *trace, rng *rand.Rand, hosts int) *network {
	n := &network{kernel: k, trace: t, rng: rng, paused: func(int) bool { return false }, awake: func(_ int, do func()) { do() }}
	for range hosts {
		n.cuts = append(n.cuts, make([]int, hosts))
		n.bad = append(n.bad, make([]int, hosts))
		n.streams = append(n.streams, nil)
	}
	return n
}

// open tells whether messages pass from one host to another.
func (n *network) open(from, to int) bool {
	return from == to || n.cuts[from][to] == 0
}

// reachable tells whether both directions are open and both hosts run.
func (n *network) reachable(a, b int) bool {
	return n.open(a, b) && n.open(b, a) && n.processUp(a) && n.processUp(b)
}

// exchange is reachable with the luck of the links: false when one of the two
// messages of an exchange is lost.
func (n *network) exchange(a, b int) bool {
	lost := n.rng.Float64() < n.quality(a, b).loss || n.rng.Float64() < n.quality(b, a).loss
	return n.reachable(a, b) && !lost
}

func (n *network) quality(from, to int) quality {
	if from != to && n.bad[from][to] > 0 {
		return poor
	}
	return healthy
}

func (n *network) latency(from, to int) time.Duration {
	if from == to {
		return 20 * time.Microsecond
	}
	q := n.quality(from, to)
	return q.delay + time.Duration(n.rng.Int64N(int64(q.jitter)))
}

// datagram sends one message to the process at a host. deliver must cope with the
// receiver being gone.
func (n *network) datagram(from, to int, what uint64, deliver func()) {
	n.packet(from, to, what, func() {
		if n.processUp(to) {
			n.awake(to, deliver)
		}
	})
}

// packet sends one message to a machine, which may be lost, late, or come twice.
// what is folded into the trace. Whether the machine is on, arrive finds out.
func (n *network) packet(from, to int, what uint64, arrive func()) {
	n.trace.fold('d', uint64(from), uint64(to), what)
	q := n.quality(from, to)
	copies := 1
	if n.rng.Float64() < q.duplicate {
		copies = 2
	}
	for range copies {
		lost := n.rng.Float64() < q.loss
		delay := n.latency(from, to)
		if lost || !n.open(from, to) {
			continue
		}
		n.kernel.after(delay, func() {
			// What is cut while a message is on its way stops it too.
			if n.open(from, to) {
				arrive()
			}
		})
	}
}
