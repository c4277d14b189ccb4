package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// begin of a fault.
type begin = func(context.Context, *site, *rand.Rand) (fault, error)

func isolate(who pick) begin {
	return func(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
		h, err := who(ctx, s, rng)
		if err != nil {
			return fault{}, err
		}
		f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 1, 8), end: s.Heal}
		return f, s.Cut(ctx, []*hosts.Host{h}, s.others(h))
	}
}

// split cuts fewer than half of the hosts off from the others. Those may be most
// of the voters.
func split(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	var few []*hosts.Host
	for _, i := range rng.Perm(len(s.Hosts))[:(len(s.Hosts)-1)/2] {
		few = append(few, s.Hosts[i])
	}
	return cutOff(ctx, s, rng, few)
}

// zone cuts the line of one zone to all others.
func zone(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	chosen := s.Hosts[rng.IntN(len(s.Hosts))].Zone
	var inside []*hosts.Host
	for _, h := range s.Hosts {
		if h.Zone == chosen {
			inside = append(inside, h)
		}
	}
	return cutOff(ctx, s, rng, inside)
}

func cutOff(ctx context.Context, s *site, rng *rand.Rand, few []*hosts.Host) (fault, error) {
	voters, err := s.voters(ctx)
	if err != nil {
		return fault{}, err
	}
	rest := s.others(few...)
	f := fault{on: names(few), touched: fewerVotes(voters, few, rest), lasts: seconds(rng, 1, 8), end: s.Heal}
	return f, s.Cut(ctx, few, rest)
}

// fewerVotes is the side of a cut that has no majority of the voters: nobody there
// can take anything for lost, and the other side takes it for lost.
func fewerVotes(voters []string, a, b []*hosts.Host) []*hosts.Host {
	of := func(side []*hosts.Host) int {
		return len(slices.DeleteFunc(slices.Clone(side), func(h *hosts.Host) bool { return !slices.Contains(voters, h.Name) }))
	}
	if of(a) > of(b) {
		return b
	}
	return a
}

// voters of the site, by their names.
func (s *site) voters(ctx context.Context) (voters []string, err error) {
	err = s.Until(ctx, "the voters", writeTime, func(ctx context.Context) error {
		status, err := s.Status(ctx)
		if err != nil {
			return err
		}
		voters = nil
		for _, node := range status.GetNodes() {
			if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
				voters = append(voters, node.GetName())
			}
		}
		return nil
	})
	return voters, err
}

// ring leaves each host its two neighbours. Whoever coordinates may take the others
// for lost.
func ring(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	order, n := rng.Perm(len(s.Hosts)), len(s.Hosts)
	f := fault{on: "all", touched: s.Hosts, lasts: seconds(rng, 1, 8), end: s.Heal}
	for i := range n {
		for j := i + 2; j < n && (i != 0 || j != n-1); j++ {
			a, b := s.Hosts[order[i]], s.Hosts[order[j]]
			if err := s.Cut(ctx, []*hosts.Host{a}, []*hosts.Host{b}); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

// bridge leaves one host that both halves reach: nobody may take it for lost.
func bridge(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	order, half := rng.Perm(len(s.Hosts)), len(s.Hosts)/2
	var a, b []*hosts.Host
	for i, number := range order[1:] {
		if i < half {
			a = append(a, s.Hosts[number])
		} else {
			b = append(b, s.Hosts[number])
		}
	}
	f := fault{on: s.Hosts[order[0]].Name + " between", touched: s.others(s.Hosts[order[0]]), lasts: seconds(rng, 1, 8), end: s.Heal}
	return f, s.Cut(ctx, a, b)
}

// oneWayIn: a host hears nobody, oneWayOut: nobody hears it. When it coordinates it
// cannot do so any more, and so takes nobody for lost.
func oneWayIn(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 1, 8), end: s.Heal}
	for _, other := range s.others(h) {
		err = errors.Join(err, h.Deafen(ctx, other))
	}
	return f, err
}

func oneWayOut(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 1, 8), end: s.Heal}
	for _, other := range s.others(h) {
		err = errors.Join(err, other.Deafen(ctx, h))
	}
	return f, err
}

// loss drops packets everywhere.
func loss(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	ofThousand := 10 + rng.IntN(391)
	f := fault{on: fmt.Sprintf("all, %.1f %%", float64(ofThousand)/10), touched: s.Hosts, lasts: seconds(rng, 2, 8), end: s.Heal}
	var err error
	for _, h := range s.Hosts {
		err = errors.Join(err, h.Lose(ctx, ofThousand))
	}
	return f, err
}

// delay makes the line of a host late, out of order, and double.
func delay(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	link := hosts.Link{Delay: seconds(rng, 0.01, 0.2), Jitter: seconds(rng, 0.01, 0.3), Twice: rng.IntN(50)}
	return impair(ctx, s, rng, link, fmt.Sprintf("%d to %d ms", link.Delay.Milliseconds(), (link.Delay+link.Jitter).Milliseconds()))
}

// thin leaves the line of a host 10 kB a second.
func thin(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	return impair(ctx, s, rng, hosts.Link{Rate: 10_000, Delay: 5 * time.Millisecond}, "10 kB/s")
}

func impair(ctx context.Context, s *site, rng *rand.Rand, link hosts.Link, how string) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	coordinator, err := leader(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name + ", " + how, touched: []*hosts.Host{h}, lasts: seconds(rng, 2, 8), end: s.Heal}
	if h == coordinator {
		f.touched = s.Hosts // through such a line it may take anybody for lost
	}
	return f, h.Impair(ctx, link)
}

// flapping cuts a host off and lets it back, again and again.
func flapping(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := either(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	times := 3 + rng.IntN(6)
	f := fault{on: fmt.Sprintf("%s, %d times", h.Name, times), touched: []*hosts.Host{h}, end: s.Heal}
	for range times {
		if err := s.Cut(ctx, []*hosts.Host{h}, s.others(h)); err != nil {
			return f, err
		}
		if err := hosts.Sleep(ctx, seconds(rng, 0.1, 1.5)); err != nil {
			return f, err
		}
		if err := s.Heal(ctx); err != nil {
			return f, err
		}
		if err := hosts.Sleep(ctx, seconds(rng, 0.05, 0.8)); err != nil {
			return f, err
		}
	}
	return f, nil
}
