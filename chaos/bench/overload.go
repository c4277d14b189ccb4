package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

const (
	overloadTimes = 5
	overloadRuns  = 3
	overloadTime  = 10 * time.Second
	// peakTime is how long each number of clients is tried.
	peakTime = 5 * time.Second
	// worthless is a write that is acknowledged later.
	worthless = time.Second
	// floodOperators have floodConnections each. One operator has 512 calls at a
	// time: more is refused to him, and to nobody else.
	floodOperators   = 8
	floodConnections = 2
	// floodOpen writes at most are under way: what is offered then is not sent, and
	// counted as such.
	floodOpen  = floodOperators * 500
	probeEvery = 20 * time.Millisecond
	// probeTime bounds one call of those that must not suffer.
	probeTime = 10 * time.Second
	// Those who call have their own machines elsewhere: here they leave the
	// processors to the agents.
	callersNice = 10
)

// peakClients are tried one after the other for the peak.
var peakClients = []int{16, 64, 128, 256, 480, 960}

// overload finds how many writes a second the site acknowledges within a second at
// best, offers five times as many, whatever becomes of them, and counts those that
// are acknowledged within a second, late, and refused. Meanwhile a node asks for
// leases, which needs a round of the majority, and an operator for the status, up to
// fifty times a second each. Their percentiles are over all runs: a disk that stalls
// for a moment once in a run would be the p99 of that run.
func overload(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if err := nice(callersNice); err != nil {
		return nil, err
	}
	writers, err := floodWriters(ctx, r)
	if err != nil {
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
	clients, err := findPeak(ctx, r, writers)
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
				peak, err = press(ctx, r, writers, clients, overloadTime)
				return err
			},
			func(ctx context.Context) (err error) {
				last, err = flood(ctx, r, writers, overloadTimes*peak.perSecond(peak.good))
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
		peaks = append(peaks, peak.perSecond(peak.good))
		share = append(share, 100*last.perSecond(last.good)/peak.perSecond(peak.good))
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

// nice makes this process yield to others, all of its threads.
func nice(value int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, value); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// floodWriters are the connections of some operators to the coordinator.
func floodWriters(ctx context.Context, r *hosts.Rig) ([]writer, error) {
	leader, _, err := r.Coordinator(ctx)
	if err != nil {
		return nil, err
	}
	var writers []writer
	for n := range floodOperators {
		home, err := r.Operator(ctx, fmt.Sprintf("caller-%d", n+1))
		if err != nil {
			return nil, err
		}
		for range floodConnections {
			dialer, err := r.OperatorDialer(home)
			if err != nil {
				return nil, err
			}
			writers = append(writers, skerryv1connect.NewResourceServiceClient(dialer.HTTPClient(mtls.API2, mtls.ExpectNode("")), "https://"+leader.API()))
		}
	}
	return writers, nil
}

// tallied is what became of writes in a time.
type tallied struct {
	offered, good, late, refused, unsent, failed int64
	length                                       time.Duration
	agents, clients                              time.Duration // of processor
}

func (c tallied) perSecond(n int64) float64 { return float64(n) / c.length.Seconds() }

func (c tallied) String() string {
	return fmt.Sprintf("%.0f/s offered, %.0f good, %.0f late, %.0f refused, %.0f failed, %.0f not sent, processors %.2f agents, %.2f callers",
		c.perSecond(c.offered), c.perSecond(c.good), c.perSecond(c.late), c.perSecond(c.refused), c.perSecond(c.failed), c.perSecond(c.unsent),
		c.agents.Seconds()/c.length.Seconds(), c.clients.Seconds()/c.length.Seconds())
}

// tally counts what becomes of writes while they go on.
type tally struct {
	good, late, refused, failed atomic.Int64
	serial                      atomic.Int64
}

// write once, and count what becomes of it.
func (t *tally) write(ctx context.Context, w writer) {
	n := t.serial.Add(1)
	callCtx, cancel := context.WithTimeout(ctx, worthless)
	defer cancel()
	_, err := w.Apply(callCtx, connect.NewRequest(smallWrite(fmt.Sprintf("f-%d", n%256), fmt.Sprintf("%d-%d", time.Now().UnixNano(), n))))
	switch {
	case err == nil:
		t.good.Add(1)
	case callCtx.Err() != nil:
		t.late.Add(1)
	case problem.KindOf(problem.FromConnect(err)) == problem.Exhausted:
		t.refused.Add(1)
	default:
		t.failed.Add(1)
	}
}

// counting does something and tells what the tally counted, and what it took.
func (t *tally) counting(r *hosts.Rig, do func() (offered, unsent int64, err error)) (tallied, error) {
	before, err := cpuOf(r)
	if err != nil {
		return tallied{}, err
	}
	begun := time.Now()
	offered, unsent, err := do()
	if err != nil {
		return tallied{}, err
	}
	c := tallied{
		offered: offered, unsent: unsent, good: t.good.Load(), late: t.late.Load(), refused: t.refused.Load(), failed: t.failed.Load(),
		length: time.Since(begun),
	}
	after, err := cpuOf(r)
	if err != nil {
		return tallied{}, err
	}
	spent := after.since(before)
	c.clients = spent.clients
	for _, agent := range spent.agents {
		c.agents += agent
	}
	return c, nil
}

// findPeak is the number of clients with which most writes are good.
func findPeak(ctx context.Context, r *hosts.Rig, writers []writer) (int, error) {
	best, most := 0, 0.0
	for _, clients := range peakClients {
		c, err := press(ctx, r, writers, clients, peakTime)
		if err != nil {
			return 0, err
		}
		progress("%d clients: %v", clients, c)
		if good := c.perSecond(c.good); good > most {
			best, most = clients, good
		}
	}
	return best, nil
}

// press has so many clients write, one write after the other.
func press(ctx context.Context, r *hosts.Rig, writers []writer, clients int, length time.Duration) (tallied, error) {
	var t tally
	return t.counting(r, func() (int64, int64, error) {
		var calls sync.WaitGroup
		end := time.Now().Add(length)
		for i := range clients {
			calls.Go(func() {
				for ctx.Err() == nil && time.Now().Before(end) {
					t.write(ctx, writers[i%len(writers)])
				}
			})
		}
		calls.Wait()
		return t.serial.Load(), 0, ctx.Err()
	})
}

// flood offers so many writes a second, whatever becomes of them.
func flood(ctx context.Context, r *hosts.Rig, writers []writer, rate float64) (tallied, error) {
	var t tally
	return t.counting(r, func() (offered, unsent int64, err error) {
		var open atomic.Int64
		var calls sync.WaitGroup
		begun := time.Now()
		for time.Since(begun) < overloadTime {
			for ; float64(offered) < rate*time.Since(begun).Seconds(); offered++ {
				if open.Load() >= floodOpen {
					unsent++
					continue
				}
				open.Add(1)
				w := writers[int(offered)%len(writers)]
				calls.Go(func() {
					defer open.Add(-1)
					t.write(ctx, w)
				})
			}
			if err := hosts.Sleep(ctx, time.Millisecond); err != nil {
				break
			}
		}
		calls.Wait()
		return offered, unsent, ctx.Err()
	})
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
