package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"skerry.dev/chaos/hosts"
)

const (
	writeClients = 16
	writeWarmup  = 2 * time.Second
	writeTime    = 10 * time.Second
	writeRuns    = 5
)

// write measures small acknowledged writes over mTLS, 16 clients with a
// connection each, on one voter and on three.
func write(ctx context.Context, binary, dir string) (result, error) {
	one, err := writeOn(ctx, binary, dir+"/one", 1)
	if err != nil {
		return nil, err
	}
	three, err := writeOn(ctx, binary, dir+"/three", 3)
	if err != nil {
		return nil, err
	}
	out := summary(one.rates, "writes/s")
	out["one_voter_p99_ms"] = median(one.p99)
	s := summary(three.rates, "writes/s")
	out["three_voters_median"], out["three_voters_min"], out["three_voters_max"] = s["median"], s["min"], s["max"]
	out["three_voters_p99_ms"] = median(three.p99)
	out["one_voter_cpu_s_per_1000"], out["three_voters_cpu_s_per_1000"] = median(one.cpu), median(three.cpu)
	return out, nil
}

// writeFigures holds one value a run; p99, in milliseconds, and cpu, in seconds of
// all agents and clients for 1,000 writes, are sorted.
type writeFigures struct{ rates, p99, cpu []float64 }

func writeOn(ctx context.Context, binary, dir string, voters int) (writeFigures, error) {
	r, err := newSite(ctx, binary, dir, voters)
	if err != nil {
		return writeFigures{}, err
	}
	defer closeRig(r)
	var figures writeFigures
	for n := range writeRuns + 1 {
		length := writeTime
		if n == 0 {
			length = writeWarmup
		}
		before, err := cpuOf(r)
		if err != nil {
			return writeFigures{}, err
		}
		latencies, err := writeFor(ctx, r, length, n)
		if err != nil {
			return writeFigures{}, err
		}
		after, err := cpuOf(r)
		if err != nil {
			return writeFigures{}, err
		}
		if n == 0 {
			continue
		}
		rate := float64(len(latencies)) / length.Seconds()
		p99 := percentile(latencies, 0.99)
		cpu := after.since(before).perThousand(len(latencies))
		progress("%d voter(s), run %d: %.0f writes/s, p50 %.1f ms, p99 %.1f ms, %.3f s of processor for 1,000", voters, n, rate,
			percentile(latencies, 0.5), p99, cpu)
		figures.rates = append(figures.rates, rate)
		figures.p99 = append(figures.p99, p99)
		figures.cpu = append(figures.cpu, cpu)
	}
	slices.Sort(figures.p99)
	slices.Sort(figures.cpu)
	return figures, nil
}

// writeFor returns the latencies of all acknowledged writes in milliseconds,
// sorted.
func writeFor(ctx context.Context, r *hosts.Rig, length time.Duration, run int) ([]float64, error) {
	return writeBy(ctx, r, length, func(ctx context.Context, c writer, client, n int) (time.Duration, error) {
		begun := time.Now()
		_, err := c.Apply(ctx, connect.NewRequest(smallWrite(fmt.Sprintf("w-%d", client), fmt.Sprintf("%d-%d", run, n))))
		return time.Since(begun), err
	})
}

// writeBy lets all clients write for so long, one write after the other, and returns
// what each took in milliseconds, sorted.
func writeBy(ctx context.Context, r *hosts.Rig, length time.Duration, write func(ctx context.Context, c writer, client, n int) (time.Duration, error)) ([]float64, error) {
	group, ctx := errgroup.WithContext(ctx)
	perClient := make([][]float64, writeClients)
	end := time.Now().Add(length)
	for i := range writeClients {
		group.Go(func() error {
			c, err := r.Client()
			if err != nil {
				return err
			}
			for n := 0; time.Now().Before(end); n++ {
				took, err := write(ctx, c.Resources(), i, n)
				if err != nil {
					return fmt.Errorf("write %d of client %d: %w", n, i, err)
				}
				perClient[i] = append(perClient[i], float64(took.Microseconds())/1000)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Sorted(slices.Values(slices.Concat(perClient...))), nil
}
