package main

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const startRuns = 20

// start measures a site of one host: from the start of the process to the
// first acknowledged write, and, with the image present, from an apply to the
// report that the container runs.
func start(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 1)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if err := loadImage(ctx, r); err != nil {
		return nil, err
	}
	var running, started []float64
	for run := range startRuns {
		ran, err := applyToRunning(ctx, r, run)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		began, err := startToWrite(ctx, r, run)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		running, started = append(running, ran.Seconds()), append(started, began.Seconds())
		progress("run %d: start %.3f s, running %.3f s", run+1, began.Seconds(), ran.Seconds())
	}
	out := summary(started, "s")
	s := summary(running, "s")
	out["running_median"], out["running_min"], out["running_max"] = s["median"], s["min"], s["max"]
	return out, nil
}

// startToWrite kills the agent, and measures from the start of the next
// process.
func startToWrite(ctx context.Context, r *hosts.Rig, run int) (time.Duration, error) {
	host := r.Hosts[0]
	if err := host.KillAgent(); err != nil {
		return 0, err
	}
	c, err := r.Client(host)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := host.StartAgent(); err != nil {
		return 0, err
	}
	took, err := firstWrite(ctx, c.Resources(), fmt.Sprintf("start-%d", run), begun)
	if err != nil {
		return 0, err
	}
	return took, r.Settled(ctx)
}

// applyToRunning looks every few milliseconds: what it measures is at most that
// much too long.
func applyToRunning(ctx context.Context, r *hosts.Rig, run int) (time.Duration, error) {
	c, err := r.Client()
	if err != nil {
		return 0, err
	}
	name := fmt.Sprintf("run-%d", run)
	begun := time.Now()
	_, err = c.Resources().Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: &skerryv1.Workload{
			Kind: "Workload", Name: name, StopGrace: "0s",
			Container: &skerryv1.Container{Image: testImage},
		}}}},
	}))
	if err != nil {
		return 0, err
	}
	for time.Since(begun) < patience {
		got, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement"}))
		if err != nil {
			return 0, err
		}
		for _, resource := range got.Msg.GetResources() {
			p := resource.GetPlacement()
			if p.GetWorkload() == name && p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_RUNNING {
				took := time.Since(begun)
				_, err := c.Resources().Delete(ctx, connect.NewRequest(&skerryv1.DeleteRequest{Kind: "Workload", Name: name}))
				return took, err
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, fmt.Errorf("%s does not run after %s", name, patience)
}
