package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"skerry.dev/chaos/nemesis"
)

const (
	// moveFaultEvery is the mean time between two faults in the middle of moves.
	moveFaultEvery = 45 * time.Second
	// moveJitter is how much later than the point of a move such a fault begins at most.
	moveJitter = 150 * time.Millisecond
)

// point of a move.
type point uint64

// The points at which faults strike.
const (
	copies point = iota
	hands
	takes
	arrives
	points
)

// await the next move with a fault. One that is never made strikes nobody.
func (in *injector) await(f nemesis.Fault) {
	if in.world.quiet {
		return
	}
	in.waiting = append(in.waiting, f)
}

// reached a point of a move between two hosts.
func (w *world) reached(at point, source, target *host) {
	if w.injector == nil || w.quiet {
		return
	}
	i := slices.IndexFunc(w.injector.waiting, func(f nemesis.Fault) bool { return point(f.Seed%uint64(points)) == at })
	if i < 0 {
		return
	}
	f := w.injector.waiting[i]
	w.injector.waiting = slices.Delete(w.injector.waiting, i, i+1)
	rng := rand.New(rand.NewPCG(f.Seed, 2))
	f.Moving, f.Hosts = false, []int{source.index}
	if rng.IntN(2) == 0 {
		f.Hosts[0] = target.index
	}
	w.kernel.after(time.Duration(rng.Int64N(int64(moveJitter))), func() {
		if !w.quiet {
			w.injector.begin(f)
		}
	})
}
