package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
)

// lines are the nemeses of the network; any of them goes with any other one.
var lines = []string{
	"isolate-leader", "isolate-follower", "split", "ring", "bridge", "one-way-in", "one-way-out", "loss", "delay", "slow-link", "flapping", "zone",
}

// asking nemeses change the site when they begin: in a pair they do so first, since
// the other one may leave no majority that takes it.
var asking = []string{"replace-voter", "expiry"}

// pairs is their row in the report.
var pairs = nemesis{name: "two at once", what: "one of the network and another one, with -pairs"}

func ofPairs(in injection) bool { return strings.Contains(in.Nemesis, "+") }

func ofLines(n nemesis) bool { return slices.Contains(lines, n.name) }

// pairable: there is one of each kind.
func pairable(chosen []nemesis) error {
	if !slices.ContainsFunc(chosen, ofLines) || !slices.ContainsFunc(chosen, func(n nemesis) bool { return !ofLines(n) }) {
		return errors.New("pairs need a nemesis of the network and another one")
	}
	return nil
}

// pair of nemeses that strike at once. Together they may leave no majority.
func pair(chosen []nemesis, rng *rand.Rand) nemesis {
	draw := func(line bool) nemesis {
		for {
			if n := chosen[rng.IntN(len(chosen))]; ofLines(n) == line {
				return n
			}
		}
	}
	a, b := draw(true), draw(false)
	return nemesis{name: a.name + "+" + b.name, begin: func(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
		order := []nemesis{a, b}
		if slices.Contains(asking, b.name) {
			slices.Reverse(order)
		}
		begun := map[string]fault{}
		for _, n := range order {
			f, err := n.begin(ctx, s, rng)
			if err != nil {
				return f, err
			}
			begun[n.name] = f
		}
		line, other := begun[a.name], begun[b.name]
		return fault{
			on:      line.on + "; " + other.on,
			touched: s.Hosts,
			ended:   slices.Concat(line.ended, other.ended),
			sign:    other.sign,
			lasts:   max(line.lasts, other.lasts),
			// The line is mended first: what ends the other one may need it.
			end: func(ctx context.Context) error { return errors.Join(line.end(ctx), other.end(ctx)) },
		}, nil
	}}
}
