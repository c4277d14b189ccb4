package sim

import (
	"math/rand/v2"
	"time"

	"skerry.dev/chaos/nemesis"
)

// Tide of a run: waves in which faults and people come close together, with calm
// between them in which people come now and then.
type Tide struct{ Wave, Calm time.Duration }

// period from wave to wave; 0 when it is always a wave.
func (t Tide) period() time.Duration {
	if t.Calm == 0 {
		return 0
	}
	return t.Wave + t.Calm
}

// waveThink is the mean pause between two requests of a client in a wave, calmThink
// while it is calm; registerThink that of one that asks for registers alone: what it
// asks for moves nothing, and costs a tenth.
const (
	waveThink, calmThink             = 3 * time.Second, 40 * time.Second
	registerThink, calmRegisterThink = time.Second, 4 * time.Second
)

// isCalm, so long after the opening.
func (t Tide) isCalm(since time.Duration) bool { return t.period() > 0 && since%t.period() >= t.Wave }

// wanders is the mean pause between two wishes that a machine moves, so long after the
// opening.
func (t Tide) wanders(since time.Duration) time.Duration {
	if t.isCalm(since) {
		return calmWander
	}
	return waveWander
}

// moveFaults from begin to end: in the waves.
func (t Tide) moveFaults(rng *rand.Rand, begin, end time.Duration) []nemesis.Fault {
	if t.period() == 0 {
		return nemesis.Moves(rng, begin, end, moveFaultEvery)
	}
	var faults []nemesis.Fault
	for at := begin; at < end; at += t.period() {
		faults = append(faults, nemesis.Moves(rng, at, min(at+t.Wave, end), moveFaultEvery)...)
	}
	return faults
}

// think is the mean pause between two requests, so long after the opening.
func (t Tide) think(registers bool, since time.Duration) time.Duration {
	calm := t.isCalm(since)
	switch {
	case registers && calm:
		return calmRegisterThink
	case registers:
		return registerThink
	case calm:
		return calmThink
	case t.period() > 0:
		return waveThink
	}
	return clientThink
}

// schedule of the faults from begin to end. With long, one of them is a cut that
// gossip does not heal, in some calm.
func (t Tide) schedule(rng *rand.Rand, site nemesis.Site, begin, end time.Duration, long bool) []nemesis.Fault {
	if t.period() == 0 {
		return nemesis.Schedule(rng, site, begin, end, faultEvery, long)
	}
	var faults []nemesis.Fault
	for at := begin; at < end; at += t.period() {
		faults = append(faults, nemesis.Schedule(rng, site, at, min(at+t.Wave, end), faultEvery, false)...)
		calm := end - at - t.Wave
		if long && calm > 0 {
			// So seldom that only the long one is drawn.
			faults = append(faults, nemesis.Schedule(rng, site, at+t.Wave, at+t.Wave+min(calm, t.Calm), 1000*t.Calm, true)...)
			long = false
		}
	}
	return faults
}
