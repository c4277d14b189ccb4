package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	overloadTimes = 5
	overloadRuns  = 5
	overloadTime  = 10 * time.Second
	// worthless is a write that is acknowledged later.
	worthless = time.Second
	// overloadOpen writes at most are under way: more are not sent, and counted as
	// offered. All are one operator's, who has 512 calls at a time, of which the
	// status needs one.
	overloadOpen = 480
	probeEvery   = 20 * time.Millisecond
)

// overload offers five times the writes that 16 clients get acknowledged, whatever
// becomes of them, and measures how many of them are, within a second; meanwhile a
// node asks for leases, which needs a round of the majority, and an operator for the
// status, up to fifty times a second each. Their percentiles are over all runs: a
// disk that stalls for a moment once in a run would be the p99 of that run.
func overload(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if _, err := writeFor(ctx, r, writeWarmup, 0); err != nil {
		return nil, err
	}
	p, err := newProbe(ctx, r)
	if err != nil {
		return nil, err
	}
	epoch, err := p.epoch(ctx)
	if err != nil {
		return nil, err
	}
	var share []float64
	var before, meanwhile probed
	for run := range overloadRuns {
		var peak, good float64
		calm, err := p.during(ctx, func(ctx context.Context) error {
			latencies, err := writeFor(ctx, r, overloadTime, run+1)
			peak = float64(len(latencies)) / overloadTime.Seconds()
			return err
		})
		if err != nil {
			return nil, err
		}
		pressed, err := p.during(ctx, func(ctx context.Context) (err error) {
			good, err = flood(ctx, r, overloadTimes*peak, run)
			return err
		})
		if err != nil {
			return nil, err
		}
		progress("run %d: peak %.0f/s, with %v; %.0f/s at %d times as much, with %v", run+1, peak, calm, good, overloadTimes, pressed)
		share = append(share, 100*good/peak)
		before.add(calm)
		meanwhile.add(pressed)
	}
	progress("all runs: %v, then %v", before, meanwhile)
	after, err := p.epoch(ctx)
	if err != nil {
		return nil, err
	}
	if after != epoch {
		return nil, fmt.Errorf("there was an election: epoch %s became %s", epoch, after)
	}
	out := summary(share, "% of peak")
	out["elections"] = 0
	for _, p := range []float64{0.5, 0.99} {
		of := fmt.Sprintf("times_p%.0f", 100*p)
		out["leases_"+of] = percentile(meanwhile.leases, p) / percentile(before.leases, p)
		out["status_"+of] = percentile(meanwhile.status, p) / percentile(before.status, p)
	}
	return out, nil
}

// flood offers so many writes a second and returns how many a second were
// acknowledged in time.
func flood(ctx context.Context, r *hosts.Rig, rate float64, run int) (float64, error) {
	var clients []writer
	for range writeClients {
		c, err := r.Client()
		if err != nil {
			return 0, err
		}
		clients = append(clients, c.Resources())
	}
	var good, open atomic.Int64
	var calls sync.WaitGroup
	begun := time.Now()
	for n := 0; time.Since(begun) < overloadTime; {
		for ; float64(n) < rate*time.Since(begun).Seconds(); n++ {
			if open.Load() >= overloadOpen {
				continue
			}
			open.Add(1)
			calls.Go(func() {
				defer open.Add(-1)
				callCtx, cancel := context.WithTimeout(ctx, worthless)
				defer cancel()
				_, err := clients[n%len(clients)].Apply(callCtx, connect.NewRequest(smallWrite(fmt.Sprintf("f-%d", n%256), fmt.Sprintf("%d-%d", run, n))))
				if err == nil {
					good.Add(1)
				}
			})
		}
		if err := hosts.Sleep(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	calls.Wait()
	return float64(good.Load()) / overloadTime.Seconds(), nil
}

// probe makes the calls that must not suffer.
type probe struct {
	leases sitev1connect.LeaseServiceClient
	node   string
	site   interface {
		Status(context.Context, *connect.Request[skerryv1.StatusRequest]) (*connect.Response[skerryv1.StatusResponse], error)
	}
}

func newProbe(ctx context.Context, r *hosts.Rig) (*probe, error) {
	leader, other, err := r.Coordinator(ctx)
	if err != nil {
		return nil, err
	}
	dialer, err := other.Dialer()
	if err != nil {
		return nil, err
	}
	c, err := r.Client(leader)
	if err != nil {
		return nil, err
	}
	return &probe{
		leases: sitev1connect.NewLeaseServiceClient(dialer.HTTPClient(mtls.Sync, mtls.ExpectNode("")), "https://"+leader.API()),
		node:   other.Name, site: c.Site(),
	}, nil
}

func (p *probe) epoch(ctx context.Context) (string, error) {
	got, err := p.site.Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
	if err != nil {
		return "", err
	}
	return got.Msg.GetFreshness().GetEpoch(), nil
}

// probed is how long both calls took, in milliseconds, sorted.
type probed struct{ leases, status []float64 }

func (p *probed) add(more probed) {
	p.leases = slices.Sorted(slices.Values(append(p.leases, more.leases...)))
	p.status = slices.Sorted(slices.Values(append(p.status, more.status...)))
}

func (p probed) String() string {
	return fmt.Sprintf("leases p50 %.1f p99 %.1f ms (%d), status p50 %.1f p99 %.1f ms (%d)", percentile(p.leases, 0.5), percentile(p.leases, 0.99), len(p.leases),
		percentile(p.status, 0.5), percentile(p.status, 0.99), len(p.status))
}

// during does something, and calls meanwhile.
func (p *probe) during(ctx context.Context, do func(context.Context) error) (probed, error) {
	probing, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	var out probed
	group.Go(func() (err error) {
		out.leases, err = repeat(probing, func(ctx context.Context) error {
			_, err := p.leases.RenewLeases(ctx, connect.NewRequest(&sitev1.RenewLeasesRequest{Node: p.node}))
			return err
		})
		return err
	})
	group.Go(func() (err error) {
		out.status, err = repeat(probing, func(ctx context.Context) error {
			_, err := p.site.Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
			return err
		})
		return err
	})
	err := do(ctx)
	cancel()
	if probeErr := group.Wait(); err == nil {
		err = probeErr
	}
	if err != nil {
		return probed{}, err
	}
	return out, nil
}

// repeat a call until ctx ends, and return how long each took, sorted.
func repeat(ctx context.Context, call func(context.Context) error) ([]float64, error) {
	var took []float64
	for ctx.Err() == nil {
		begun := time.Now()
		if err := call(context.WithoutCancel(ctx)); err != nil {
			return nil, err
		}
		took = append(took, float64(time.Since(begun).Microseconds())/1000)
		_ = hosts.Sleep(ctx, probeEvery) // the loop looks
	}
	slices.Sort(took)
	return took, nil
}
