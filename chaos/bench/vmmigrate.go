package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"skerry.dev/chaos/hosts"
)

const (
	vmMigrateRuns = 10
	// guestTime bounds how long an emulated guest takes until its first program.
	guestTime = 3 * time.Minute
)

// vmMigrate measures how long an emulated guest of 256 MiB, which does nothing but
// write a character to its console every ten milliseconds, writes nothing in a live
// migration: from its last sign on the one host to the first one on the other.
func vmMigrate(ctx context.Context, binary, dir string) (result, error) {
	r, err := siteOf(ctx, hosts.Options{Name: "bench", Dir: dir, Binary: binary, Machines: true}, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	vm, err := r.LoadMachine(ctx, hosts.Machine{Script: "exec beater -", Memory: "256Mi"})
	if err != nil {
		return nil, err
	}
	if err := imageEverywhere(ctx, r, hosts.MachineDisk); err != nil {
		return nil, err
	}
	manifest := fmt.Sprintf("kind: Workload\nname: vm\nvm: %s\nstopGrace: 1s\n", vm)
	if _, err := r.Skerry(ctx, strings.NewReader(manifest), "apply", "-f", "-"); err != nil {
		return nil, err
	}
	var pauses, whole []float64
	for run := range vmMigrateRuns {
		pause, took, err := vmMigrateOnce(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		progress("run %d: a pause of %.3f s in a migration of %.1f s", run+1, pause.Seconds(), took.Seconds())
		pauses, whole = append(pauses, pause.Seconds()), append(whole, took.Seconds())
	}
	measured := summary(pauses, "s")
	measured["whole_median"] = summary(whole, "s")["median"]
	return measured, nil
}

func vmMigrateOnce(ctx context.Context, r *hosts.Rig) (pause, took time.Duration, err error) {
	if err := r.Settled(ctx); err != nil {
		return 0, 0, err
	}
	from, err := hostOf(ctx, r)
	if err != nil {
		return 0, 0, err
	}
	err = r.Until(ctx, "the guest to write", guestTime, func(context.Context) error {
		if from.ConsoleSize("vm-1") < 10 {
			return fmt.Errorf("on %s it has not", from.Name)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	watch, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { pause = silence(watch, r, from) })
	begun := time.Now()
	said, err := r.Skerry(ctx, nil, "vm", "migrate", "vm")
	took = time.Since(begun)
	if err == nil && strings.Contains(said, "on "+from.Name+"\n") {
		err = fmt.Errorf("it did not move: %s", said)
	}
	if err != nil {
		stop()
	}
	watched.Wait()
	stop()
	return pause, took, err
}

// silence from the last sign of the guest on a host to the first one on another, by
// the times of the files: who looks may come late. When the first of several signs
// was written is not known; it is taken to be as late as their pace allows.
func silence(ctx context.Context, r *hosts.Rig, from *hosts.Host) time.Duration {
	const pace = 10 * time.Millisecond // of the beater
	sizes := map[*hosts.Host]int64{}
	for _, h := range r.Hosts {
		sizes[h] = h.ConsoleSize("vm-1")
	}
	_, last := from.Console("vm-1")
	for ctx.Err() == nil && time.Since(last) < patience {
		for _, h := range r.Hosts {
			size, at := h.Console("vm-1")
			if h == from {
				if size > sizes[h] {
					sizes[h], last = size, at
				}
				continue
			}
			// The first sign may be one that was under way when the guest was halted:
			// it is written again with the serial port, before the guest goes on.
			if grown := size - sizes[h]; grown >= 2 {
				return at.Sub(last) - time.Duration(grown-2)*pace
			}
			sizes[h] = min(sizes[h], size) // what was left of an earlier stay is gone
		}
		time.Sleep(time.Millisecond)
	}
	return 0
}
