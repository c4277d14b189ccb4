package main

import (
	"context"
	"errors"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"skerry.dev/agent"
	"skerry.dev/coordinator"
	"skerry.dev/coordinator/audit/leafstore"
)

// What a voter's heap may grow by before it is collected: to three times what is
// in use, for a few percent of the writes, as long as that is a few megabytes; by
// less where there is much, and by no less than a half.
const (
	maxGrowth    = 200 // percent
	minGrowth    = 50
	growthBytes  = 64 << 20
	growthStep   = 10 // percent; less is no reason to change it
	collectEvery = 2 * time.Second
)

// collected is a voter whose heap is looked after.
type collected struct{ *coordinator.Voter }

// Run implements agent.Voter.
func (c collected) Run(ctx context.Context) error {
	limited, stop := context.WithCancel(ctx)
	var limiting sync.WaitGroup
	limiting.Go(func() { limitGrowth(limited) })
	err := c.Voter.Run(ctx)
	stop()
	limiting.Wait()
	if errors.Is(err, leafstore.ErrDamaged) {
		return errors.Join(agent.ErrBeside, err)
	}
	return err
}

// limitGrowth of the heap until ctx ends.
func limitGrowth(ctx context.Context) {
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	defer debug.SetGCPercent(debug.SetGCPercent(maxGrowth))
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for set := maxGrowth; ; {
		metrics.Read(sample)
		if next := growth(sample[0].Value.Uint64()); next-set >= growthStep || set-next >= growthStep {
			debug.SetGCPercent(next)
			set = next
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// growth in percent of so many bytes in use.
func growth(live uint64) int {
	if live == 0 {
		return maxGrowth
	}
	return int(min(maxGrowth, max(minGrowth, 100*growthBytes/live)))
}
