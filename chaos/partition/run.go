package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"skerry.dev/chaos/hosts"
)

const (
	// wholeTime bounds the way back to a site in which all is well, writeTime that
	// to a write that is acknowledged.
	wholeTime = 2 * time.Minute
	writeTime = 30 * time.Second
	// rateTime is how long the load is looked at before an injection, leastRate
	// what it must have done in each second for the injection to count.
	rateTime  = 2 * time.Second
	leastRate = 100.0
)

// verdict on one injection.
type verdict string

const (
	passed verdict = "passed"
	failed verdict = "failed"
	// void: there was too little load before it, or it was not felt.
	void verdict = "void"
)

// injection is the record of one.
type injection struct {
	Nemesis string    `json:"nemesis"`
	On      string    `json:"on"`
	Seed    uint64    `json:"seed"`
	Number  int       `json:"number"`
	At      time.Time `json:"at"`
	Commit  string    `json:"commit"`
	// Rate of operations a second before it, Ops that were judged after it.
	Rate float64 `json:"rate"`
	Ops  int     `json:"ops"`
	// Lasted so long, from before anything was done; the longest time without an
	// acknowledged write, from its beginning on where a majority was left and from its
	// end otherwise; and until the site was whole, from its end. All in seconds.
	Lasted  float64  `json:"lasted"`
	Write   float64  `json:"write"`
	Whole   float64  `json:"whole"`
	Verdict verdict  `json:"verdict"`
	Why     []string `json:"why,omitempty"`
	// missed: no sign that it was felt was seen.
	missed bool
}

// run carries injections out, one after the other.
type run struct {
	*site
	options
	number int
	// together are the pairs of lives that were told of.
	together map[string]bool
	// read is how far the log of each host's agent was read for crashes.
	read map[string]int64
	// calm is what the last injection ended with, nil before the first one and after
	// one that did not come to its end. The next is judged by it: nothing may happen
	// between the two that is nobody's.
	calm *calm
}

// calm is what the site was like once all had been well for rateTime.
type calm struct {
	since time.Duration // the beginning of the load
	runs  map[string]map[string]string
	epoch string
	rate  float64
}

// inject one nemesis and judge what came of it.
func (r *run) inject(ctx context.Context, n nemesis) injection {
	r.number++
	rng := rand.New(rand.NewPCG(r.seed, uint64(r.number)))
	in := injection{Nemesis: n.name, Seed: r.seed, Number: r.number, Commit: r.commit}
	in.At = time.Now()
	if r.calm == nil {
		calm, err := r.settle(ctx)
		if err != nil {
			return r.broken(ctx, in, fmt.Errorf("before it: %w", err))
		}
		r.calm = calm
	}
	before := r.calm
	in.Rate = before.rate
	f, after, err := r.strike(ctx, n, rng, &in)
	in.On = f.on
	if err != nil {
		return r.broken(ctx, in, err)
	}
	r.calm = after
	in.Why = append(in.Why, harmed(forget(before.runs, f), after.runs, f.names(), leases(n, in, before.epoch == after.epoch))...)
	in.Why = append(in.Why, r.twice()...)
	crashes, err := r.crashes()
	if err != nil {
		return r.broken(ctx, in, err)
	}
	in.Why = append(in.Why, crashes...)
	ops, err := r.load.next(ctx)
	in.Ops = len(ops)
	in.Why = append(in.Why, judge(ops)...)
	if len(in.Why) > 0 || err != nil {
		return r.kept(in, ops, err)
	}
	return in.unharmed(f)
}

// unharmed is an injection in which nothing was found: it has passed if it could have
// failed.
func (in injection) unharmed(f fault) injection {
	if in.Rate < leastRate {
		in.Why = append(in.Why, fmt.Sprintf("%.0f operations a second before it", in.Rate))
	}
	if in.missed {
		in.Why = append(in.Why, f.sign.missed())
	}
	in.Verdict = passed
	if len(in.Why) > 0 {
		in.Verdict = void
	}
	return in
}

// strike, wait, end it, and wait until all is well and stays so.
func (r *run) strike(ctx context.Context, n nemesis, rng *rand.Rand, in *injection) (fault, *calm, error) {
	// Some strike for all of their time in here.
	begun := r.load.now()
	f, err := n.begin(ctx, r.site, rng)
	if err != nil {
		return f, nil, err
	}
	felt := r.watch(ctx, f.sign)
	defer func() { in.missed = !felt() }()
	if err := hosts.Sleep(ctx, f.lasts); err != nil {
		return f, nil, err
	}
	if err := f.end(ctx); err != nil {
		return f, nil, err
	}
	ended := r.load.now()
	in.Lasted = (ended - begun).Seconds()
	var again time.Duration
	err = r.Until(ctx, "a write", writeTime, func(context.Context) error {
		at, found := r.load.past.firstWrite(ended)
		if !found {
			return errors.New("none was acknowledged")
		}
		again = at
		return nil
	})
	if err != nil {
		return f, nil, err
	}
	since := ended
	if n.serves {
		since = begun
	}
	stood := r.load.past.standstill(since, again)
	in.Write = stood.Seconds()
	in.Why = append(in.Why, late(stood)...)
	after, err := r.settle(ctx)
	if err != nil {
		return f, nil, err
	}
	in.Whole = (after.since - ended).Seconds()
	return f, after, nil
}

// look at what runs, and at the epoch of the site.
func (r *run) look(ctx context.Context) (all map[string]map[string]string, epoch string, err error) {
	err = r.Until(ctx, "what runs where", writeTime, func(ctx context.Context) error {
		status, err := r.Status(ctx)
		if err != nil {
			return err
		}
		epoch = status.GetFreshness().GetEpoch()
		all, err = r.containers()
		return err
	})
	return all, epoch, err
}

// leases were to be had all the time: from the same coordinator, since a node
// notices only after two seconds that another one is to be asked.
func leases(n nemesis, in injection, sameEpoch bool) bool {
	return n.serves && sameEpoch && time.Duration(in.Write*float64(time.Second)) <= leaseGap
}

// late says that no write was acknowledged for longer than is promised.
func late(stood time.Duration) []string {
	if stood <= writeTime {
		return nil
	}
	return []string{fmt.Sprintf("no write was acknowledged for %.1f s, %s is promised", stood.Seconds(), writeTime)}
}

// settle waits until all has been well for rateTime: a node may be counted lost a moment
// after it was back, and what took its place goes again.
func (r *run) settle(ctx context.Context) (*calm, error) {
	var now calm
	err := r.Until(ctx, "the site to stay whole", wholeTime, func(ctx context.Context) error {
		if err := r.amiss(ctx); err != nil {
			return err
		}
		now.since = r.load.now()
		if err := hosts.Sleep(ctx, rateTime); err != nil {
			return err
		}
		now.rate = r.rate(ctx)
		if err := r.amiss(ctx); err != nil {
			return err
		}
		var err error
		now.runs, now.epoch, err = r.look(ctx)
		return err
	})
	return &now, err
}

// rate of the load now, operations a second.
func (r *run) rate(context.Context) float64 {
	now := r.load.now()
	return float64(r.load.past.done(now-rateTime, now)) / rateTime.Seconds()
}

// broken judges the history as far as it goes, and keeps it.
func (r *run) broken(ctx context.Context, in injection, err error) injection {
	r.calm = nil
	ops, failure := r.load.next(ctx)
	in.Ops, in.Why = len(ops), append(in.Why, judge(ops)...)
	in = r.kept(in, ops, errors.Join(err, failure))
	if err := r.restore(ctx); err != nil {
		in.Why = append(in.Why, "restoring the site: "+err.Error())
	}
	return in
}

// kept is a failure with all that tells what happened in a folder.
func (r *run) kept(in injection, ops []operation, err error) injection {
	in.Verdict = failed
	if err != nil {
		in.Why = append(in.Why, err.Error())
	}
	dir := filepath.Join(r.keep, fmt.Sprintf("seed-%d-%03d-%s", in.Seed, in.Number, in.Nemesis))
	if err := r.keepAll(dir, in, ops); err != nil {
		in.Why = append(in.Why, "it could not be kept: "+err.Error())
	}
	return in
}

func (r *run) keepAll(dir string, in injection, ops []operation) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, what := range map[string]any{
		"injection.json": in,
		"history.json":   ops,
	} {
		text, err := json.MarshalIndent(what, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	for _, h := range r.Hosts {
		text, err := os.ReadFile(h.AgentLog())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, h.Name+".log"), text, 0o600); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var told strings.Builder
	for _, command := range []string{"status", "get nodes", "get placements", "events"} {
		out, err := r.Rig.Skerry(ctx, nil, strings.Fields(command)...)
		fmt.Fprintf(&told, "$ skerry %s\n%s\n", command, out)
		if err != nil {
			fmt.Fprintln(&told, err)
		}
	}
	told.WriteString(r.witness.Tell())
	return os.WriteFile(filepath.Join(dir, "site.txt"), []byte(told.String()), 0o600)
}

// twice are lives of what is exclusive that were there at the same time, each
// pair once.
func (r *run) twice() []string {
	var found []string
	for _, overlap := range r.witness.Overlaps() {
		pair, _, _ := strings.Cut(overlap, " lived")
		if !r.together[pair] {
			r.together[pair] = true
			found = append(found, "exclusive: "+overlap)
		}
	}
	return found
}

// forget what ran on hosts that lost their power.
func forget(before map[string]map[string]string, f fault) map[string]map[string]string {
	for _, h := range f.ended {
		delete(before, h.Name)
	}
	return before
}

func (f fault) names() map[string]bool {
	touched := map[string]bool{}
	for _, h := range slices.Concat(f.touched, f.ended) {
		touched[h.Name] = true
	}
	return touched
}
