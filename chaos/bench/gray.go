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
)

// gray measures small acknowledged writes on three voters, whose p99 a voter that is
// slow, or dead without anybody knowing it, must not raise much: one that follows
// stands still for four fifths of the time, and then altogether. A second figure, which
// is no part of the first, is that of a coordinator that stands still for four fifths
// of the time; it may be replaced, so writes are tried again until they are acknowledged.
func gray(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if _, err := writeFor(ctx, r, writeWarmup, 0); err != nil {
		return nil, err
	}
	var healthy, slow, dead, slowCoordinator []float64
	replaced := 0
	for run := range grayRuns {
		// The last one may have been replaced.
		coordinator, follower, err := r.Coordinator(ctx)
		if err != nil {
			return nil, err
		}
		if err := grayRun(ctx, r, &healthy, 3*run+1, nil); err != nil {
			return nil, err
		}
		if err := grayRun(ctx, r, &slow, 3*run+2, func(ctx context.Context) error { return stutter(ctx, follower) }); err != nil {
			return nil, fmt.Errorf("with a slow voter: %w", err)
		}
		if err := grayRun(ctx, r, &dead, 3*run+3, func(ctx context.Context) error { return standStill(ctx, follower) }); err != nil {
			return nil, fmt.Errorf("with a dead voter: %w", err)
		}
		if err := r.Settled(ctx); err != nil {
			return nil, err
		}
		harm := func(ctx context.Context) error { return stutter(ctx, coordinator) }
		p99, err := grayWrites(ctx, r, run, harm)
		if err != nil {
			return nil, fmt.Errorf("with a slow coordinator: %w", err)
		}
		slowCoordinator = append(slowCoordinator, p99)
		if err := r.Settled(ctx); err != nil {
			return nil, err
		}
		leads, _, err := r.Coordinator(ctx)
		if err != nil {
			return nil, err
		}
		if leads != coordinator {
			replaced++
		}
		progress("run %d: p99 %.1f ms, %.1f ms with a slow voter, %.1f ms with a dead one, %.1f ms with a slow coordinator (%s, then %s)", run+1, healthy[run],
			slow[run], dead[run], p99, coordinator.Name, leads.Name)
	}
	var times []float64
	for run := range healthy {
		times = append(times, max(slow[run], dead[run])/healthy[run])
	}
	out := summary(times, "times the p99")
	out["healthy_p99_ms"], out["slow_p99_ms"], out["dead_p99_ms"] = middle(healthy), middle(slow), middle(dead)
	out["slow_coordinator_p99_ms"], out["slow_coordinator_times_p99"] = middle(slowCoordinator), middle(slowCoordinator)/middle(healthy)
	out["slow_coordinators_replaced"] = replaced
	return out, nil
}

// grayRun adds the p99 of one run, while something is done to a voter.
func grayRun(ctx context.Context, r *hosts.Rig, into *[]float64, run int, harm func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var harming errgroup.Group
	if harm != nil {
		harming.Go(func() error { return harm(ctx) })
	}
	latencies, err := writeFor(ctx, r, grayTime, run)
	cancel()
	if harmErr := harming.Wait(); err == nil {
		err = harmErr
	}
	if err != nil {
		return err
	}
	slices.Sort(latencies)
	*into = append(*into, percentile(latencies, 0.99))
	return nil
}

// grayWrites is the p99 of writes that are tried again until they are acknowledged,
// while something is done to the coordinator.
func grayWrites(ctx context.Context, r *hosts.Rig, run int, harm func(context.Context) error) (float64, error) {
	harmCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var harming, writing errgroup.Group
	harming.Go(func() error { return harm(harmCtx) })
	perClient := make([][]float64, writeClients)
	end := time.Now().Add(grayTime)
	for i := range writeClients {
		writing.Go(func() error {
			c, err := r.Client()
			if err != nil {
				return err
			}
			for n := 0; time.Now().Before(end); n++ {
				took, err := firstWrite(ctx, c.Resources(), fmt.Sprintf("gray-%d-%d-%d", run, i, n), time.Now())
				if err != nil {
					return err
				}
				perClient[i] = append(perClient[i], float64(took.Microseconds())/1000)
			}
			return nil
		})
	}
	err := writing.Wait()
	cancel()
	if err := errors.Join(err, harming.Wait()); err != nil {
		return 0, err
	}
	all := slices.Sorted(slices.Values(slices.Concat(perClient...)))
	if len(all) == 0 {
		return 0, errors.New("no write was acknowledged")
	}
	return percentile(all, 0.99), nil
}

// stutter lets a host's agent work for a fifth of the time, until ctx ends.
func stutter(ctx context.Context, h *hosts.Host) error {
	for ctx.Err() == nil {
		if err := h.PauseAgent(); err != nil {
			return err
		}
		_ = hosts.Sleep(ctx, grayStill) // also when ctx ends it must go on
		if err := h.ResumeAgent(); err != nil {
			return err
		}
		_ = hosts.Sleep(ctx, grayPeriod-grayStill) // the loop looks
	}
	return nil
}

// standStill until ctx ends.
func standStill(ctx context.Context, h *hosts.Host) error {
	if err := h.PauseAgent(); err != nil {
		return err
	}
	<-ctx.Done()
	return h.ResumeAgent()
}
