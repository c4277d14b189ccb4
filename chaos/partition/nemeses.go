package main

import (
	"context"
	"math/rand/v2"
	"time"

	"skerry.dev/chaos/hosts"
)

// nemesis is one way to make things go wrong.
type nemesis struct {
	name, what string
	// serves: a majority of the voters is left all the time, so writes go on.
	serves bool
	begin  func(ctx context.Context, s *site, rng *rand.Rand) (fault, error)
}

// fault is what a nemesis has done, and how to end it.
type fault struct {
	// on says to whom.
	on string
	// touched hosts may be taken for lost: what runs there may be replaced.
	touched []*hosts.Host
	// ended hosts had no power: nothing on them goes on.
	ended []*hosts.Host
	lasts time.Duration
	end   func(ctx context.Context) error
}

// nemeses are all that there are, in the order of the report.
var nemeses = []nemesis{
	{"isolate-leader", "the coordinator's host is cut off from all others", true, isolate(leader)},
	{"isolate-follower", "the host of another voter is cut off from all others", true, isolate(follower)},
	{"sigkill", "the agent of a host, often the coordinator's, is killed, and started again", true, killAgent},
}

// pick is who a nemesis strikes.
type pick func(ctx context.Context, s *site, rng *rand.Rand) (*hosts.Host, error)

func leader(ctx context.Context, s *site, _ *rand.Rand) (*hosts.Host, error) {
	h, _, err := s.Coordinator(ctx)
	return h, err
}

func follower(ctx context.Context, s *site, _ *rand.Rand) (*hosts.Host, error) {
	_, h, err := s.Coordinator(ctx)
	return h, err
}

func anyHost(_ context.Context, s *site, rng *rand.Rand) (*hosts.Host, error) {
	return s.Hosts[rng.IntN(len(s.Hosts))], nil
}

// either is the coordinator's host, or any.
func either(ctx context.Context, s *site, rng *rand.Rand) (*hosts.Host, error) {
	if rng.IntN(2) == 0 {
		return leader(ctx, s, rng)
	}
	return anyHost(ctx, s, rng)
}

// seconds from a to b.
func seconds(rng *rand.Rand, a, b float64) time.Duration {
	return time.Duration((a + rng.Float64()*(b-a)) * float64(time.Second))
}

func isolate(who pick) func(context.Context, *site, *rand.Rand) (fault, error) {
	return func(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
		h, err := who(ctx, s, rng)
		if err != nil {
			return fault{}, err
		}
		f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 1, 8), end: s.Heal}
		return f, s.Cut(ctx, []*hosts.Host{h}, s.others(h))
	}
}

func killAgent(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 0, 3)}
	f.end = func(context.Context) error { return h.StartAgent() }
	return f, h.KillAgent()
}
