package api

import (
	"context"
	"sync"
	"time"

	"skerry.dev/coordinator/state"
	"skerry.dev/coordinator/whatif"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

const (
	// surveyEvery is how often what status foresees is found out again at most.
	surveyEvery = 2 * time.Second
	// surveyAtOnce is what one status spends on it; the rest is found out beside
	// it, surveySlice at a time, with rests that are surveyShare times as long: a
	// tenth of one core.
	surveyAtOnce = 100 * time.Millisecond
	surveySlice  = 20 * time.Millisecond
	surveyRest   = 180 * time.Millisecond
	surveyShare  = 9
	// driftLimit is how many placements are looked at for their drift.
	driftLimit = 20_000
)

// foreseen is what status tells of what is not so yet.
type foreseen struct {
	weak []*skerryv1.Weakness
	// tried losses of so many.
	tried, losses int
	// drifted placements, and of these those that are where they must not be.
	drifted, misplaced int
	// index of the state, when this was found out, and how long status was kept by
	// it.
	index    uint64
	at, cost time.Duration
}

// foresight finds out which losses the site would not survive, and what would be
// elsewhere. A small site is surveyed while status is answered, of a large one
// the survey goes on beside it when somebody asks for its status: status never
// waits for it, and says how far it is.
type foresight struct {
	clock env.Clock
	// asking are the questions that are being thought through.
	asking chan struct{}
	// more is there when a survey is to go on.
	more chan struct{}

	mu sync.Mutex
	// busy: somebody has the survey, and nobody else touches it.
	busy bool
	// last survey that came to its end; known when there was one.
	known bool
	last  foreseen
	// going is the survey that has not come to its end, nil when there is none, and
	// what it found so far.
	going *whatif.Survey
	sofar foreseen
}

func newForesight(clock env.Clock) *foresight {
	return &foresight{clock: clock, asking: make(chan struct{}, maxAsking), more: make(chan struct{}, 1)}
}

// now is what is foreseen now.
func (f *foresight) now(store *state.Store) foreseen {
	if f.take(func() bool { return f.going == nil && f.due(store.View().Index()) }) {
		began := f.clock.Elapsed()
		f.begin(store)
		found := f.step(surveyAtOnce)
		found.cost = f.clock.Elapsed() - began
		f.give(found)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.going != nil {
		select {
		case f.more <- struct{}{}:
		default: // it goes on already
		}
		if !f.known {
			return f.sofar
		}
	}
	return f.last
}

// take the survey if that is wanted and nobody has it.
func (f *foresight) take(wanted func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy || !wanted() {
		return false
	}
	f.busy = true
	return true
}

// give the survey back, with what it found.
func (f *foresight) give(found foreseen) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy, f.sofar = false, found
	if found.tried == found.losses {
		f.known, f.last, f.going = true, found, nil
	}
}

// due: something has changed since the last survey, and not just now.
func (f *foresight) due(index uint64) bool {
	return !f.known || index != f.last.index && f.clock.Elapsed()-f.last.at > max(surveyEvery, surveyShare*f.last.cost)
}

// begin a survey, by whoever has taken it.
func (f *foresight) begin(store *state.Store) {
	view, survey := store.View(), whatif.NewSurvey(store)
	begun := foreseen{index: view.Index()}
	_, begun.losses = survey.Tried()
	if len(view.Placements()) <= driftLimit {
		moves, held := whatif.Drift(view, func(*skerryv1.Workload) bool { return true })
		begun.drifted, begun.misplaced = len(moves)+len(held), len(held)
		for _, m := range moves {
			if m.GetBroken() {
				begun.misplaced++
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.going, f.sofar = survey, begun
}

// step the survey for about so long, by whoever has taken it.
func (f *foresight) step(length time.Duration) foreseen {
	found, end := f.sofar, f.clock.Elapsed()+length
	for f.going.Step() && f.clock.Elapsed() < end {
	}
	found.tried, found.losses = f.going.Tried()
	found.weak, found.at = f.going.Weak(), f.clock.Elapsed()
	return found
}

// run surveys that are too large for one status, until ctx ends.
func (f *foresight) run(ctx context.Context) error {
	for {
		select {
		case <-f.more:
		case <-ctx.Done():
			return ctx.Err()
		}
		rest := surveyRest
		for f.unfinished() {
			if err := env.Sleep(ctx, f.clock, rest); err != nil {
				return err
			}
			if !f.take(func() bool { return f.going != nil }) {
				continue
			}
			began := f.clock.Elapsed()
			f.give(f.step(surveySlice))
			rest = max(surveyRest, surveyShare*(f.clock.Elapsed()-began))
		}
	}
}

func (f *foresight) unfinished() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.going != nil
}

// Run finds out beside the answers what takes longer, until ctx ends.
func (s *Server) Run(ctx context.Context) error { return s.foresight.run(ctx) }
