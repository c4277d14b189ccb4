package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/chaos/hosts"
)

const (
	grayTime = 10 * time.Second
	grayRuns = 3
	// Of each period a slow voter stands still for so long.
	grayPeriod, grayStill = 250 * time.Millisecond, 200 * time.Millisecond
	// grayLate milliseconds: who waits for longer has waited for a voter that stood still.
	grayLate = 100.0
)

// gray measures small acknowledged writes on three voters, whose p99 a voter that is
// slow, or dead without anybody knowing it, must not raise much: one that follows
// stands still for four fifths of the time, then altogether, and then the coordinator
// for four fifths of the time. It may be replaced, so writes are tried again until they
// are acknowledged, always.
func gray(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if _, err := writeFor(ctx, r, writeWarmup, 0); err != nil {
		return nil, err
	}
	p99, times := map[string][]float64{}, []float64(nil)
	replaced := 0
	for run := range grayRuns {
		// The last one may have been replaced.
		coordinator, follower, err := r.Coordinator(ctx)
		if err != nil {
			return nil, err
		}
		for _, c := range []struct {
			name string
			harm func(context.Context) error
		}{
			{"healthy", nil},
			{"slow", func(ctx context.Context) error { return follower.Stutter(ctx, grayStill, grayPeriod-grayStill) }},
			{"dead", func(ctx context.Context) error { return standStill(ctx, follower) }},
			{"slow_coordinator", func(ctx context.Context) error { return coordinator.Stutter(ctx, grayStill, grayPeriod-grayStill) }},
		} {
			took, err := grayRun(ctx, r, fmt.Sprintf("%s-%d", c.name, run), c.harm)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			p99[c.name] = append(p99[c.name], took)
			if err := r.Settled(ctx); err != nil {
				return nil, err
			}
		}
		leads, _, err := r.Coordinator(ctx)
		if err != nil {
			return nil, err
		}
		if leads != coordinator {
			replaced++
		}
		times = append(times, max(p99["slow"][run], p99["dead"][run], p99["slow_coordinator"][run])/p99["healthy"][run])
		progress("run %d: p99 %.1f ms, %.1f ms with a slow voter, %.1f ms with a dead one, %.1f ms with a slow coordinator (%s, then %s)", run+1, p99["healthy"][run],
			p99["slow"][run], p99["dead"][run], p99["slow_coordinator"][run], coordinator.Name, leads.Name)
	}
	out := summary(times, "times the p99")
	for name, runs := range p99 {
		out[name+"_p99_ms"] = middle(runs)
	}
	out["slow_coordinator_times_p99"] = middle(p99["slow_coordinator"]) / middle(p99["healthy"])
	out["slow_coordinators_replaced"] = replaced
	return out, nil
}

// grayRun is the p99 of one run, while something is done to a voter.
func grayRun(ctx context.Context, r *hosts.Rig, run string, harm func(context.Context) error) (float64, error) {
	harmCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var harming errgroup.Group
	if harm != nil {
		harming.Go(func() error { return harm(harmCtx) })
	}
	took, err := writeBy(ctx, r, grayTime, func(ctx context.Context, c writer, client, n int) (time.Duration, error) {
		return firstWrite(ctx, c, fmt.Sprintf("%s-%d-%d", run, client, n), time.Now())
	})
	cancel()
	if err := errors.Join(err, harming.Wait()); err != nil {
		return 0, err
	}
	if len(took) == 0 {
		return 0, errors.New("no write was acknowledged")
	}
	late, _ := slices.BinarySearch(took, grayLate)
	progress("%s: %d writes, %d of them took more than %.0f ms, the longest %.0f", run, len(took), len(took)-late, grayLate, took[len(took)-1])
	return percentile(took, 0.99), nil
}

// standStill until ctx ends.
func standStill(ctx context.Context, h *hosts.Host) error {
	if err := h.PauseAgent(); err != nil {
		return err
	}
	<-ctx.Done()
	return h.ResumeAgent()
}
