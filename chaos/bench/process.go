package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// coordinatorProcess is the process of the coordinator's agent.
type coordinatorProcess int

// cpu seconds that it has used, of both kinds; what cannot be read is 0.
func (p coordinatorProcess) cpu() float64 {
	const userTime, ticks = 11, 100 // fields after the name; clock ticks a second
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < userTime+2 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[userTime], 64)
	system, _ := strconv.ParseFloat(fields[userTime+1], 64)
	return (user + system) / ticks
}

// memory that it has resident, in MiB.
func (p coordinatorProcess) memory() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d says nothing of its memory", p)
}

// each does n things, so many at once.
func each(ctx context.Context, atOnce, n int, do func(context.Context, int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}
