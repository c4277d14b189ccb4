package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/chaos/hosts"
)

func killAgent(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 0, 3)}
	f.end = func(context.Context) error { return h.StartAgent() }
	return f, h.KillAgent()
}

// killAll ends every agent at once.
func killAll(_ context.Context, s *site, rng *rand.Rand) (fault, error) {
	f := fault{on: "all", lasts: seconds(rng, 0, 2)}
	f.end = func(context.Context) error {
		var err error
		for _, i := range rng.Perm(len(s.Hosts)) {
			err = errors.Join(err, s.Hosts[i].StartAgent())
		}
		return err
	}
	var err error
	for _, h := range s.Hosts {
		err = errors.Join(err, h.KillAgent())
	}
	return f, err
}

// pauseAgent lets an agent stand still: mostly for seconds, at times for a minute.
func pauseAgent(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 1, 8)}
	if rng.IntN(6) == 0 {
		f.lasts = seconds(rng, 8, 60)
	}
	f.end = func(context.Context) error { return h.ResumeAgent() }
	return f, h.PauseAgent()
}

// powerOne takes the power from one host, powerAll from the site.
func powerOne(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	return powerOff(ctx, s, rng, []*hosts.Host{h}, false)
}

func powerAll(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	return powerOff(ctx, s, rng, s.Hosts, false)
}

// powerOff takes the power from some hosts at once; with lose, also what no fsync
// has brought to their disks.
func powerOff(ctx context.Context, s *site, rng *rand.Rand, off []*hosts.Host, lose bool) (fault, error) {
	f := fault{on: names(off), ended: off, touched: off, lasts: seconds(rng, 0, 3)}
	if len(off) == len(s.Hosts) {
		f.on = "all"
	}
	var group errgroup.Group
	for _, h := range off {
		group.Go(h.PowerOff)
	}
	if err := group.Wait(); err != nil {
		return f, err
	}
	if lose {
		for _, h := range off {
			if err := h.Disk("lose"); err != nil {
				return f, err
			}
		}
	}
	var waits []time.Duration
	for range off {
		waits = append(waits, seconds(rng, 0, 2))
	}
	f.end = func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for i, h := range off {
			group.Go(func() error {
				if err := hosts.Sleep(ctx, waits[i]); err != nil {
					return err
				}
				if err := h.Boot(ctx); err != nil {
					return err
				}
				return h.StartAgent()
			})
		}
		return group.Wait()
	}
	return f, nil
}

// starve leaves an agent a few percent of a processor.
func starve(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	percent := 1 + rng.IntN(8)
	feed, err := h.Starve(percent)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: fmt.Sprintf("%s, %d %%", h.Name, percent), touched: []*hosts.Host{h}, lasts: seconds(rng, 2, 8)}
	f.end = func(context.Context) error { return feed() }
	return f, nil
}

// older starts an agent's older binary in its place, and then the newer again.
func older(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	if s.older == "" {
		return fault{}, errors.New("there is no older binary: -older")
	}
	version, err := versionOf(ctx, s.older)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name + ", " + s.olderCommit, touched: []*hosts.Host{h}, lasts: seconds(rng, 2, 6)}
	f.sign = &sign{h, "the version " + version, saysVersion(version)}
	change := func(binary string) error {
		if err := h.StopAgent(); err != nil {
			return err
		}
		h.Binary = binary
		return h.StartAgent()
	}
	f.end = func(ctx context.Context) error {
		return errors.Join(change(""), s.onItsFeet(ctx, h), s.mended(ctx, h))
	}
	return f, change(s.older)
}

// killContainerd ends a host's containerd; what it runs goes on.
func killContainerd(_ context.Context, s *site, rng *rand.Rand) (fault, error) {
	h := s.Hosts[rng.IntN(len(s.Hosts))]
	f := fault{on: h.Name, lasts: seconds(rng, 0, 5), end: h.StartContainerd}
	return f, h.KillContainerd()
}

// replaceVoter evicts a voter under load; its machine is made anew and joins
// again.
func replaceVoter(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	who := follower
	if rng.IntN(3) == 0 {
		who = leader
	}
	h, err := who(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, ended: []*hosts.Host{h}, touched: []*hosts.Host{h}, lasts: seconds(rng, 0, 2)}
	f.end = func(ctx context.Context) error { return s.anew(ctx, h) }
	return f, s.evict(ctx, h)
}

// moveVoter gives the host of a voter another address.
func moveVoter(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := aVoter(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	before := h.Address
	if err := h.KillAgent(); err != nil {
		return fault{}, err
	}
	if err := h.Readdress(ctx); err != nil {
		return fault{}, err
	}
	f := fault{on: fmt.Sprintf("%s from %s to %s", h.Name, before, h.Address), touched: []*hosts.Host{h}, lasts: seconds(rng, 0, 2)}
	f.end = func(context.Context) error { return errors.Join(h.StartAgent(), s.load.look()) }
	return f, nil
}

// evict a node, again and again until the site has taken it.
func (s *site) evict(ctx context.Context, h *hosts.Host, flags ...string) error {
	return s.Until(ctx, "the eviction", writeTime, func(ctx context.Context) error {
		_, err := s.Rig.Skerry(ctx, nil, append([]string{"node", "evict", h.Name, "--yes"}, flags...)...)
		if err != nil && strings.Contains(err.Error(), "evicted") {
			err = nil
		}
		return err
	})
}

// anew wipes the machine of a node that was evicted, and lets it join.
func (s *site) anew(ctx context.Context, h *hosts.Host) error {
	if err := h.PowerOff(); err != nil {
		return err
	}
	// Not before it is so: what is exclusive starts elsewhere at once.
	if err := s.evict(ctx, h, "--off"); err != nil {
		return err
	}
	if err := h.Boot(ctx); err != nil {
		return err
	}
	// Its name is free when another node votes in its place.
	return s.Until(ctx, "the join of "+h.Name, wholeTime, func(ctx context.Context) error { return s.Renew(ctx, h) })
}

// driftEvery is how often a drifting clock is moved.
const driftEvery = 50 * time.Millisecond

// clockJump sets the wall clock of an agent to something else.
func clockJump(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	ahead := []time.Duration{-24 * time.Hour, -time.Hour, -time.Minute, time.Minute, time.Hour, 24 * time.Hour, 10 * 365 * 24 * time.Hour}[rng.IntN(7)]
	h, clock, err := agentClock(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: fmt.Sprintf("%s by %s", h.Name, ahead), lasts: seconds(rng, 1, 6)}
	f.end = func(context.Context) error { return errors.Join(clock.Set(0), clock.Close()) }
	return f, clock.Set(ahead)
}

// clockDrift lets the wall clock of an agent run too fast or too slow.
func clockDrift(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	rate := rng.Float64()*2 - 1
	h, clock, err := agentClock(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	var failure error
	group.Go(func() {
		for begun := time.Now(); failure == nil; {
			select {
			case <-stop:
				return
			case <-time.After(driftEvery):
				failure = clock.Set(time.Duration(float64(time.Since(begun)) * rate))
			}
		}
	})
	f := fault{on: fmt.Sprintf("%s by %+.0f %%", h.Name, rate*100), lasts: seconds(rng, 2, 8)}
	f.end = func(context.Context) error {
		close(stop)
		group.Wait()
		return errors.Join(failure, clock.Set(0), clock.Close())
	}
	return f, nil
}

func agentClock(ctx context.Context, s *site, rng *rand.Rand) (*hosts.Host, *hosts.Clock, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return nil, nil, err
	}
	clock, err := h.AgentClock()
	return h, clock, err
}
