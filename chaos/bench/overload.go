package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	overloadTimes = 5
	overloadRuns  = 3
	overloadTime  = 10 * time.Second
	// peakTime is how long each number of clients is tried.
	peakTime   = 5 * time.Second
	probeEvery = 20 * time.Millisecond
	// probeTime bounds one call of those that must not suffer.
	probeTime = 10 * time.Second
)

// peakClients are tried one after the other for the peak.
var peakClients = []int{16, 64, 128, 256, 480, 960}

// overload finds how many writes a second the site acknowledges within a second at
// best, offers five times as many, whatever becomes of them, and counts those that
// are acknowledged within a second, late, and refused. Meanwhile a node asks for
// leases, which needs a round of the majority, and an operator for the status, up to
// fifty times a second each. Their percentiles are over all runs: a disk that stalls
// for a moment once in a run would be the p99 of that run. Those who write are a process
// of their own. SKERRY_CONNECTIONS overrides how many connections each of them has.
func overload(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	callers, err := newCallers(ctx, r)
	if err != nil {
		return nil, err
	}
	defer callers.end()
	p, err := newProbe(ctx, r)
	if err != nil {
		return nil, err
	}
	epoch, err := p.epoch(ctx)
	if err != nil {
		return nil, err
	}
	clients, err := findPeak(ctx, callers)
	if err != nil {
		return nil, err
	}
	var all [3]probed // without writes, at the peak, with more
	var share, peaks []float64
	var last tallied
	for run := range overloadRuns {
		var peak tallied
		phases := []func(context.Context) error{
			func(ctx context.Context) error { return hosts.Sleep(ctx, overloadTime) },
			func(ctx context.Context) (err error) {
				peak, err = callers.do(ctx, order{Clients: clients, Length: overloadTime})
				return err
			},
			func(ctx context.Context) (err error) {
				last, err = callers.do(ctx, order{Rate: overloadTimes * peak.perSecond(peak.Good), Length: overloadTime})
				return err
			},
		}
		for i, phase := range phases {
			seen, err := p.during(ctx, phase)
			if err != nil {
				return nil, err
			}
			progress("run %d: %s: %v", run+1, []string{"no writes", "peak", "overload"}[i], seen)
			all[i].add(seen)
		}
		progress("run %d: with %d clients %v; with %d times as much offered %v", run+1, clients, peak, overloadTimes, last)
		peaks = append(peaks, peak.perSecond(peak.Good))
		share = append(share, 100*last.perSecond(last.Good)/peak.perSecond(peak.Good))
	}
	after, err := p.epoch(ctx)
	if err != nil {
		return nil, err
	}
	if after != epoch {
		return nil, fmt.Errorf("there was an election: epoch %s became %s", epoch, after)
	}
	progress("all runs: no writes: %v; peak: %v; overload: %v", all[0], all[1], all[2])
	out := summary(share, "% of peak")
	out["probes_failed"] = all[2].failed
	out["elections"], out["peak_clients"], out["peak_median"] = 0, clients, middle(peaks)
	for _, q := range []float64{0.5, 0.99} {
		of := fmt.Sprintf("p%.0f", 100*q)
		for i, than := range []string{"calm", "peak"} {
			out["leases_"+of+"_times_"+than] = percentile(all[2].leases, q) / percentile(all[i].leases, q)
			out["status_"+of+"_times_"+than] = percentile(all[2].status, q) / percentile(all[i].status, q)
		}
	}
	return out, nil
}

// findPeak is the number of clients with which most writes are good.
func findPeak(ctx context.Context, c *callers) (int, error) {
	best, most := 0, 0.0
	for _, clients := range peakClients {
		seen, err := c.do(ctx, order{Clients: clients, Length: peakTime})
		if err != nil {
			return 0, err
		}
		progress("%d clients: %v", clients, seen)
		if good := seen.perSecond(seen.Good); good > most {
			best, most = clients, good
		}
	}
	return best, nil
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

// probed is how long both calls took, in milliseconds, sorted, and how many of them
// failed: these took as long as it was tried.
type probed struct {
	leases, status []float64
	failed         int
}

func (p *probed) add(more probed) {
	p.leases = slices.Sorted(slices.Values(append(p.leases, more.leases...)))
	p.status = slices.Sorted(slices.Values(append(p.status, more.status...)))
	p.failed += more.failed
}

func (p probed) String() string {
	return fmt.Sprintf("leases p50 %.1f p99 %.1f ms (%d), status p50 %.1f p99 %.1f ms (%d), %d failed", percentile(p.leases, 0.5), percentile(p.leases, 0.99), len(p.leases),
		percentile(p.status, 0.5), percentile(p.status, 0.99), len(p.status), p.failed)
}

// during does something, and calls meanwhile.
func (p *probe) during(ctx context.Context, do func(context.Context) error) (probed, error) {
	probing, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	var out probed
	var leasesFailed, statusFailed int
	group.Go(func() {
		out.leases, leasesFailed = repeat(probing, func(ctx context.Context) error {
			_, err := p.leases.RenewLeases(ctx, connect.NewRequest(&sitev1.RenewLeasesRequest{Node: p.node}))
			return err
		})
	})
	group.Go(func() {
		out.status, statusFailed = repeat(probing, func(ctx context.Context) error {
			_, err := p.site.Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
			return err
		})
	})
	err := do(ctx)
	cancel()
	group.Wait()
	out.failed = leasesFailed + statusFailed
	return out, err
}

// repeat a call until ctx ends, and return how long each took, sorted, and how many
// failed.
func repeat(ctx context.Context, call func(context.Context) error) (took []float64, failed int) {
	for ctx.Err() == nil {
		begun := time.Now()
		callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTime)
		if err := call(callCtx); err != nil {
			failed++
		}
		cancel()
		took = append(took, float64(time.Since(begun).Microseconds())/1000)
		_ = hosts.Sleep(ctx, probeEvery) // the loop looks
	}
	slices.Sort(took)
	return took, failed
}
