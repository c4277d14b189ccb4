package main

import (
	"context"
	"fmt"
	"time"

	"skerry.dev/chaos/hosts"
)

const failoverRuns = 20

// failover measures, on a site of three hosts, from the SIGKILL of the
// coordinator's process to the next write that is acknowledged through another
// node.
func failover(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	var seconds []float64
	for run := range failoverRuns {
		took, err := failOver(ctx, r, run)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		progress("run %d: %.3f s", run+1, took.Seconds())
		seconds = append(seconds, took.Seconds())
	}
	return summary(seconds, "s"), nil
}

func failOver(ctx context.Context, r *hosts.Rig, run int) (time.Duration, error) {
	if err := r.Settled(ctx); err != nil {
		return 0, err
	}
	coordinator, other, err := r.Coordinator(ctx)
	if err != nil {
		return 0, err
	}
	c, err := r.Client(other)
	if err != nil {
		return 0, err
	}
	if _, err := firstWrite(ctx, c.Resources(), fmt.Sprintf("before-%d", run), time.Now()); err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := coordinator.KillAgent(); err != nil {
		return 0, err
	}
	took, err := firstWrite(ctx, c.Resources(), fmt.Sprintf("after-%d", run), begun)
	if err != nil {
		return 0, err
	}
	return took, coordinator.StartAgent()
}

// closeRig removes a site; what it could not remove is told.
func closeRig(r *hosts.Rig) {
	if err := r.Close(); err != nil {
		progress("the site left something behind: %v", err)
	}
}
