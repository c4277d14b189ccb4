// Command partition strikes a site of real hosts with one nemesis after the
// other, under load, and judges what came of each: no acknowledged write lost,
// every read linearizable, what is exclusive never twice, and healthy work left
// alone. It writes docs/partition-report.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"skerry.dev/chaos/flags"
)

// options of a run.
type options struct {
	binary, older, olderCommit string
	// results gets a line for each injection, report a table of all of them, keep
	// what tells of failures.
	results, report, keep string
	only                  string
	commit                string
	length                time.Duration
	hosts, rate, count    int
	pairs                 bool
	seed                  uint64
}

// maxBroken injections in a row end a run.
const maxBroken = 3

func main() {
	var o options
	flag.StringVar(&o.binary, "binary", "", "absolute path of skerry")
	flag.StringVar(&o.older, "older", "", "absolute path of an older skerry")
	flag.StringVar(&o.olderCommit, "older-commit", "", "the commit of that")
	flag.StringVar(&o.commit, "commit", "unknown", "the commit of skerry")
	flag.StringVar(&o.results, "results", "", "file of injections, one a line; more are added")
	flag.StringVar(&o.report, "report", "", "write the report of all results to this file")
	flag.StringVar(&o.keep, "keep", "", "folder for logs and histories of failures")
	flag.StringVar(&o.only, "only", "", "nemeses, with commas between; default all")
	flag.DurationVar(&o.length, "for", 20*time.Minute, "how long; 0 writes the report alone")
	flag.IntVar(&o.count, "count", 10_000, "at most so many injections")
	flag.IntVar(&o.hosts, "hosts", 5, "hosts of the site")
	flag.IntVar(&o.rate, "rate", 200, "operations a second that are tried")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().Unix()), "of all that is drawn")
	flag.BoolVar(&o.pairs, "pairs", false, "two nemeses at once: one of the network, one of the hosts")
	err := flags.Parse()
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = carryOut(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "partition:", err)
		os.Exit(1)
	}
}

func carryOut(ctx context.Context, o options) error {
	var err error
	if o.length > 0 {
		err = strikeAll(ctx, o)
	}
	if o.report == "" {
		return err
	}
	all, failure := readResults(o.results)
	switch {
	case failure != nil:
	case slices.ContainsFunc(all, func(in injection) bool { return !ofPairs(in) }):
		failure = os.WriteFile(o.report, []byte(report(all, o)), 0o644)
	default: // what is published would be less than before
		fmt.Printf("%s stays as it is: %s has pairs alone; make chaos-report first\n", o.report, o.results)
	}
	return errors.Join(err, failure)
}

// strikeAll makes a site and strikes it until the time is over.
func strikeAll(ctx context.Context, o options) (err error) {
	chosen, err := choose(o.only)
	if err == nil && o.pairs {
		err = pairable(chosen)
	}
	if err == nil {
		err = o.check(chosen)
	}
	if err != nil {
		return err
	}
	s, err := newSite(ctx, o, chosen, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	loadCtx, stop := context.WithCancel(ctx)
	s.load, err = startLoad(loadCtx, s.Rig, o.rate, o.seed)
	if err != nil {
		stop()
		return err
	}
	defer func() { stop(); s.load.group.Wait() }()
	r := &run{site: s, options: o, together: map[string]bool{}, read: map[string]int64{}}
	bad := 0
	deadline := time.Now().Add(o.length)
	broken := 0 // injections in a row that did not come to their end
	for _, n := range schedule(chosen, o) {
		if ctx.Err() != nil || time.Now().After(deadline) {
			break
		}
		in := r.inject(ctx, n)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		fmt.Printf("%3d %-18s %-24s %4.0f/s %5d ops, lasted %5.1f s, write %5.2f s, whole %5.1f s: %s %s\n", in.Number, in.Nemesis, in.On,
			in.Rate, in.Ops, in.Lasted, in.Write, in.Whole, in.Verdict, strings.Join(in.Why, "; "))
		if err := addResult(o.results, in); err != nil {
			return err
		}
		if in.Verdict == failed {
			bad++
		}
		if broken++; in.Whole > 0 {
			broken = 0
		}
		if broken == maxBroken {
			return fmt.Errorf("the site is broken for good after %d injections; %s has their logs", r.number, o.keep)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d injections failed; %s has their logs", bad, r.number, o.keep)
	}
	return nil
}

// choose nemeses by their names, all of them when none is named.
func choose(only string) ([]nemesis, error) {
	if only == "" {
		return nemeses, nil
	}
	var chosen []nemesis
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, n := range nemeses {
			if n.name == name {
				chosen, found = append(chosen, n), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no nemesis %q", name)
		}
	}
	return chosen, nil
}

// schedule of nemeses: all of them in some order, then again in another.
func schedule(chosen []nemesis, o options) []nemesis {
	rng := rand.New(rand.NewPCG(o.seed, 0))
	var list []nemesis
	for len(list) < o.count {
		if o.pairs {
			list = append(list, pair(chosen, rng))
			continue
		}
		for _, i := range rng.Perm(len(chosen)) {
			list = append(list, chosen[i])
		}
	}
	return list[:o.count]
}

func addResult(file string, in injection) error {
	if file == "" {
		return nil
	}
	line, err := json.Marshal(in)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

func readResults(file string) ([]injection, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading only
	var all []injection
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var in injection
		if err := json.Unmarshal(lines.Bytes(), &in); err != nil {
			return nil, err
		}
		all = append(all, in)
	}
	return all, lines.Err()
}
