// Package seeds runs many seeds of a simulation and adds up what they did. Each seed
// is a process of its own: raft draws its chance for the whole process.
package seeds

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// mark begins the line that a run prints.
const mark = "SKERRY-SIM "

// Sum is what one seed did, or many.
type Sum struct {
	Seed uint64 `json:"seed,omitempty"`
	Hash string `json:"hash,omitempty"`
	// Simulated seconds.
	Simulated float64 `json:"simulated_s"`
	Faults    int     `json:"faults"`
	// Operations of clients that were answered and checked; Unknown ones never were.
	Operations int    `json:"operations"`
	Unknown    int    `json:"unknown"`
	Entries    uint64 `json:"entries"`
	Elections  int    `json:"elections"`
	// State is the size of the largest snapshot, in bytes.
	State     int    `json:"state_bytes"`
	Violation string `json:"violation,omitempty"`
	// CPU seconds of its process.
	CPU float64 `json:"cpu_s"`
}

// Print tells the sum of a run to whoever started its process.
func Print(s Sum) {
	line, err := json.Marshal(s)
	if err != nil {
		panic(err) // numbers and strings
	}
	fmt.Printf("\n%s%s\n", mark, line)
}

// Plan of a campaign.
type Plan struct {
	// Package whose TestSeed is run, with First to Last.
	Package     string
	First, Last uint64
	// Procs at the same time.
	Procs int
	// Env of each run: its pace, a bug.
	Env []string
	// Timeout of one seed.
	Timeout time.Duration
}

// Run runs all seeds of a plan. each is told of every one that has ended, one at a
// time.
func Run(ctx context.Context, plan Plan, each func(Sum)) error {
	if plan.Last < plan.First || plan.Procs < 1 {
		return fmt.Errorf("seeds %d to %d, %d at a time: none would run", plan.First, plan.Last, plan.Procs)
	}
	dir, err := os.MkdirTemp("", "skerry-seeds-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a directory of ours under /tmp
	binary := filepath.Join(dir, "sim.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, plan.Package)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("the simulation cannot be built: %w", err)
	}
	next := make(chan uint64)
	var mu sync.Mutex
	var group sync.WaitGroup
	for range plan.Procs {
		group.Go(func() {
			for seed := range next {
				sum := runOne(ctx, plan, binary, seed)
				mu.Lock()
				each(sum)
				mu.Unlock()
			}
		})
	}
	for seed := plan.First; seed <= plan.Last && ctx.Err() == nil; seed++ {
		next <- seed
	}
	close(next)
	group.Wait()
	return ctx.Err()
}

// runOne runs a seed. What its process says when it fails is part of the violation.
func runOne(ctx context.Context, plan Plan, binary string, seed uint64) Sum {
	ctx, cancel := context.WithTimeout(ctx, plan.Timeout)
	defer cancel()
	run := exec.CommandContext(ctx, binary, "-test.run", "^TestSeed$", "-test.timeout", "0", "-test.v")
	run.Env = append(append(os.Environ(), "SKERRY_SIM_JSON=1", "SKERRY_SIM_SEED="+strconv.FormatUint(seed, 10)), plan.Env...)
	out, err := run.CombinedOutput()
	sum, found := parse(out)
	if !found {
		sum = Sum{Violation: fmt.Sprintf("the run did not end: %v: %s", err, tail(out))}
	}
	sum.Seed = seed
	if run.ProcessState != nil {
		sum.CPU = (run.ProcessState.UserTime() + run.ProcessState.SystemTime()).Seconds()
	}
	return sum
}

func parse(out []byte) (Sum, bool) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, len(out)+1)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), mark)
		var sum Sum
		if ok && json.Unmarshal([]byte(text), &sum) == nil {
			return sum, true
		}
	}
	return Sum{}, false
}

// tail is the end of what a process said.
func tail(out []byte) string { return string(out[max(0, len(out)-2000):]) }
