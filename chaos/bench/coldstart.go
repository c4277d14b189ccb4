package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"skerry.dev/chaos/hosts"
)

const coldstartRuns = 5

// coldstart measures, on a site of three hosts after a power cut everywhere, from the
// start of the agent with which a majority of the voters is up to the first write
// that is acknowledged. The order differs from run to run, and so do the pauses
// between the hosts.
func coldstart(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if err := loadImage(ctx, r); err != nil {
		return nil, err
	}
	if err := applyWeb(ctx, r); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(7, 7))
	var seconds []float64
	for run := range coldstartRuns {
		if err := r.Settled(ctx); err != nil {
			return nil, err
		}
		order := random.Perm(len(r.Hosts))
		took, err := coldStart(ctx, r, run, order, time.Duration(random.IntN(5000))*time.Millisecond)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		progress("run %d, order %v: %.3f s", run+1, order, took.Seconds())
		seconds = append(seconds, took.Seconds())
	}
	return summary(seconds, "s"), nil
}

func coldStart(ctx context.Context, r *hosts.Rig, run int, order []int, pause time.Duration) (time.Duration, error) {
	for _, h := range r.Hosts {
		if err := h.PowerOff(); err != nil {
			return 0, err
		}
	}
	var begun time.Time
	for n, i := range order[:2] { // a majority of three
		if n > 0 {
			if err := hosts.Sleep(ctx, pause); err != nil {
				return 0, err
			}
		}
		if err := r.Hosts[i].Boot(ctx); err != nil {
			return 0, err
		}
		begun = time.Now()
		if err := r.Hosts[i].StartAgent(); err != nil {
			return 0, err
		}
	}
	c, err := r.Client(r.Hosts[order[0]])
	if err != nil {
		return 0, err
	}
	took, err := firstWrite(ctx, c.Resources(), fmt.Sprintf("cold-%d", run), begun)
	if err != nil {
		return 0, err
	}
	last := r.Hosts[order[2]]
	if err := last.Boot(ctx); err != nil {
		return 0, err
	}
	return took, last.StartAgent()
}
