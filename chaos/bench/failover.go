package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/chaos/hosts"
)

const (
	failoverRuns = 20
	// failoverLoad clients write while a larger site is measured.
	failoverLoad = 4
)

// failover measures, on a site of three hosts, from the SIGKILL of the
// coordinator's process to the next write that is acknowledged through another
// node. SKERRY_HOSTS says on how many hosts; from more than three on, four clients
// write meanwhile as fast as they can.
func failover(ctx context.Context, binary, dir string) (result, error) {
	count, err := hostsWanted(3)
	if err != nil {
		return nil, err
	}
	r, err := newSite(ctx, binary, dir, count)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if count > 3 {
		stop := loadOn(ctx, r, failoverLoad)
		defer stop()
	}
	var seconds []float64
	for run := range failoverRuns {
		took, err := failOver(ctx, r, run)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		progress("run %d: %.3f s", run+1, took.Seconds())
		seconds = append(seconds, took.Seconds())
	}
	out := summary(seconds, "s")
	out["hosts"], out["p99"] = count, percentile(slices.Sorted(slices.Values(seconds)), 0.99)
	return out, nil
}

// hostsWanted is what SKERRY_HOSTS says, or so many.
func hostsWanted(usual int) (int, error) {
	text := os.Getenv("SKERRY_HOSTS")
	if text == "" {
		return usual, nil
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 3 || count > 9 {
		return 0, fmt.Errorf("SKERRY_HOSTS=%q is not a number of hosts from 3 to 9", text)
	}
	return count, nil
}

// loadOn writes with so many clients, whatever becomes of it, until it is stopped.
func loadOn(ctx context.Context, r *hosts.Rig, clients int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var writing sync.WaitGroup
	for i := range clients {
		writing.Go(func() {
			for n := 0; ctx.Err() == nil; {
				c, err := r.Client()
				for err == nil && ctx.Err() == nil {
					callCtx, cancel := context.WithTimeout(ctx, attemptTime)
					_, err = c.Resources().Apply(callCtx, connect.NewRequest(smallWrite(fmt.Sprintf("load-%d", i), fmt.Sprint(n))))
					cancel()
					n++
				}
				_ = hosts.Sleep(ctx, attemptEvery) // the loop looks
			}
		})
	}
	return func() {
		cancel()
		writing.Wait()
	}
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
