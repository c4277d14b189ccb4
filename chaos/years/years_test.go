package years

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"skerry.dev/certs"
)

// scenario is one life of a site.
type scenario struct {
	name string
	live func(*world, *rand.Rand)
}

func (w *world) off(d time.Duration, hosts ...*host) {
	for _, h := range hosts {
		h.powerOff()
	}
	for passed := time.Duration(0); passed < d; passed += 20 * day {
		w.step(min(20*day, d-passed))
	}
	for _, h := range hosts {
		h.boot()
	}
}

var scenarios = []scenario{
	{"a node is off for 400 days", func(w *world, rng *rand.Rand) {
		w.step(day)
		w.off(400*day, w.hosts[3+rng.IntN(2)])
		w.step(time.Minute)
	}},
	{"a voter is off for 400 days", func(w *world, rng *rand.Rand) {
		w.step(day)
		w.off(400*day, w.hosts[rng.IntN(3)])
		w.step(time.Minute)
	}},
	{"the whole site is off for 400 days, then its time is confirmed", func(w *world, _ *rand.Rand) {
		w.step(day)
		w.off(400*day, w.hosts...)
		w.step(time.Minute)
		w.command()
		w.set(w.now)
		w.step(time.Minute)
		w.step(day)
	}},
	{"some hosts boot in 1970", func(w *world, rng *rand.Rand) {
		w.step(day)
		for range 1 + rng.IntN(5) {
			h := w.hosts[rng.IntN(5)]
			h.powerOff()
			w.turn(func() { h.offset = time.Unix(0, 0).Sub(w.now) })
			h.boot()
			w.step(day)
		}
		for range 20 {
			w.step(30 * day)
		}
	}},
	{"all hosts boot in 1970", func(w *world, _ *rand.Rand) {
		w.step(day)
		w.off(day, w.hosts...)
		for _, h := range w.hosts {
			w.turn(func() { h.offset = time.Unix(0, 0).Sub(w.now) })
		}
		for range 20 {
			w.step(30 * day)
		}
	}},
	{"some hosts are ten years ahead", func(w *world, rng *rand.Rand) {
		for range 1 + rng.IntN(5) {
			w.turn(func() { w.hosts[rng.IntN(5)].offset = 3650 * day })
			w.step(10 * day)
		}
		for range 20 {
			w.step(30 * day)
		}
	}},
	{"jumps of an hour, drift of 500 ppm, power cuts", func(w *world, rng *rand.Rand) {
		for _, h := range w.hosts {
			w.turn(func() { h.rate = 1 + (rng.Float64()-0.5)/1000 })
		}
		for range 120 {
			h := w.hosts[rng.IntN(5)]
			w.turn(func() { h.offset += time.Duration(rng.IntN(3)-1) * time.Hour })
			if rng.IntN(5) == 0 {
				h.powerOff()
				h.boot()
			}
			w.step(time.Duration(rng.IntN(int(10 * day))))
		}
	}},
	{"site time is set five years ahead and back again while a node is away", func(w *world, rng *rand.Rand) {
		w.step(day)
		away := w.hosts[1+rng.IntN(4)]
		right := w.now
		w.set(w.now.AddDate(5, 0, 0))
		w.step(time.Minute)
		away.powerOff()
		w.step(day)
		w.set(right)
		w.step(time.Minute)
		for range 4 {
			w.step(20 * day)
		}
		away.boot()
		w.step(time.Minute)
		w.step(day)
	}},
	{"site time is set 24 years ahead and back again, some are away", func(w *world, rng *rand.Rand) {
		w.step(day)
		first, second := w.hosts[1+rng.IntN(2)], w.hosts[3+rng.IntN(2)]
		if rng.IntN(2) == 0 {
			first, second = second, first
		}
		first.powerOff() // it never hears of the wrong time
		w.set(w.now.AddDate(24, 0, 0))
		w.step(time.Minute)
		w.command()
		first.boot()
		w.step(time.Minute)
		second.powerOff() // it does not hear that the time was wrong
		w.step(day)
		w.set(w.now)
		for range 4 {
			w.step(time.Minute)
			w.command()
		}
		w.valid(first) // without the one that is away, too
		second.boot()
		for range 4 {
			w.step(time.Minute)
		}
		w.step(day)
		if w.rotations > 4 {
			w.notef("the CAs were rotated %d times", w.rotations)
			w.invalid++
		}
	}},
}

// seeds of each scenario.
const seeds = 3

func live(t *testing.T, s scenario, seed uint64, bug Bug) *world {
	t.Helper()
	w := newWorld(t, bug)
	s.live(w, rand.New(rand.NewPCG(seed, 1)))
	w.command()
	w.command()
	w.valid(w.hosts...)
	return w
}

func TestNobodyIsEverLockedOut(t *testing.T) {
	for _, s := range scenarios {
		for seed := range uint64(seeds) {
			if !full && seed > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", s.name, seed), func(t *testing.T) {
				t.Parallel()
				if w := live(t, s, seed, None); w.lockOuts > 0 || w.invalid > 0 {
					t.Errorf("%d times somebody was locked out, %d certificates do not count by the true time:\n%s",
						w.lockOuts, w.invalid, strings.Join(w.notes, "\n"))
				}
			})
		}
	}
}

// full: long lives run too, and more chance, as in `make test-sim`.
var full = os.Getenv("SKERRY_SIM") == "full"

func onlyFull(t *testing.T) {
	t.Helper()
	if !full {
		t.Skip("only with SKERRY_SIM=full")
	}
}

// TestFiveYearsAlone: no operator, no fault, renewals all along.
func TestFiveYearsAlone(t *testing.T) {
	onlyFull(t)
	t.Parallel()
	w := newWorld(t, None)
	const every = 3 * day
	for passed := time.Duration(0); passed < 5*365*day; passed += every {
		w.step(every)
	}
	for _, h := range w.hosts {
		if h.renewed < 5*365/55 || h.renewed > 5*365/35 {
			t.Errorf("%s was renewed %d times", h.name, h.renewed)
		}
		if off := h.node.Now().Sub(w.now); off.Abs() > time.Hour {
			t.Errorf("%s thinks that it is %s", h.name, h.node.Now())
		}
	}
	w.command()
	w.command()
	if w.lockOuts > 0 {
		t.Errorf("%d times somebody was locked out:\n%s", w.lockOuts, strings.Join(w.notes, "\n"))
	}
}

// century is longer than three lives of a CA.
func century(w *world) {
	for w.now.Before(begun.AddDate(100, 0, 0)) && w.lockOuts == 0 {
		w.step(40 * day)
	}
}

// TestASiteOutlivesItsCAs: no operator, and nobody is locked out when the CAs
// with which it began have ended.
func TestASiteOutlivesItsCAs(t *testing.T) {
	onlyFull(t)
	t.Parallel()
	w := newWorld(t, None)
	century(w)
	w.command()
	w.command()
	if w.lockOuts > 0 {
		t.Errorf("%d times somebody was locked out:\n%s", w.lockOuts, strings.Join(w.notes, "\n"))
	}
	if w.rotations < 5 || w.rotations > 7 {
		t.Errorf("the CAs were rotated %d times", w.rotations)
	}
	bundle, err := certs.VerifyTrust(w.store.View().SiteID(), w.store.View().Trust())
	if err != nil || len(bundle.Authorities()) != 3 {
		t.Errorf("%d CAs count at the end, %v", len(bundle.Authorities()), err)
	}
}

func TestASiteWhoseCAsAreKeptIsLockedOut(t *testing.T) {
	onlyFull(t)
	t.Parallel()
	w := newWorld(t, KeepAuthorities)
	century(w)
	if w.lockOuts == 0 {
		t.Error("nobody noticed that the CAs had ended")
	}
}

// TestPlantedBugsAreFound sees that these tests can fail.
func TestPlantedBugsAreFound(t *testing.T) {
	for name, bug := range map[string]Bug{
		"certificates are judged by the host's clock":  JudgeByWallClock,
		"only who knows that it is late asks to renew": RenewOnlyWhenDue,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := ""
			for _, s := range scenarios {
				if w := live(t, s, 1, bug); w.lockOuts > 0 {
					found = s.name
					break
				}
			}
			if found == "" {
				t.Error("nobody was locked out")
			}
			t.Log("found by: ", found)
		})
	}
}
