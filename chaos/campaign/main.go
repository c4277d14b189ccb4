// Command campaign runs many seeds of a simulation, tells what goes wrong, and
// prints one JSON object with what was counted.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"skerry.dev/chaos/flags"
	"skerry.dev/chaos/seeds"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "campaign:", err)
		os.Exit(1)
	}
}

// total of a campaign.
type total struct {
	Campaign string  `json:"campaign"`
	Seeds    int     `json:"seeds"`
	Days     float64 `json:"simulated_days"`
	seeds.Sum
	// PerCPU and PerSecond are simulated seconds for each second of one core, and for
	// each that went by.
	PerCPU     float64     `json:"simulated_per_cpu_second"`
	PerSecond  float64     `json:"simulated_per_second"`
	Wall       float64     `json:"wall_s"`
	Load       string      `json:"load"`
	Violations []seeds.Sum `json:"violations"`
}

func run(ctx context.Context) error {
	plan := seeds.Plan{}
	pace := ""
	plan.Package = "./chaos/sim"
	flag.Uint64Var(&plan.First, "first", 1, "first seed")
	flag.Uint64Var(&plan.Last, "last", 200, "last seed")
	flag.IntVar(&plan.Procs, "procs", runtime.NumCPU(), "seeds at the same time")
	flag.DurationVar(&plan.Timeout, "timeout", time.Hour, "for one seed")
	flag.StringVar(&pace, "pace", "campaign", "campaign, night or core; empty for that of make test-sim")
	if err := flags.Parse(); err != nil {
		return err
	}
	plan.Env = []string{"SKERRY_SIM_PACE=" + pace}
	sum := total{Campaign: pace, Violations: []seeds.Sum{}}
	begun := time.Now()
	err := seeds.Run(ctx, plan, func(one seeds.Sum) {
		sum.add(one)
		fmt.Printf("%d done, seed %d: %.0f s simulated in %.1f s of a core, %d faults, %d operations, hash %s %s\n",
			sum.Seeds, one.Seed, one.Simulated, one.CPU, one.Faults, one.Operations, one.Hash, one.Violation)
	})
	sum.Wall = time.Since(begun).Seconds()
	sum.Days = sum.Simulated / (24 * 3600)
	sum.PerCPU, sum.PerSecond = sum.Simulated/max(sum.CPU, 1e-9), sum.Simulated/sum.Wall
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		sum.Load = string(load[:min(14, len(load))])
	}
	line, jsonErr := json.Marshal(sum)
	if jsonErr != nil {
		return jsonErr
	}
	fmt.Println(string(line))
	if err == nil && len(sum.Violations) > 0 {
		err = fmt.Errorf("%d of %d seeds broke a rule", len(sum.Violations), sum.Seeds)
	}
	return err
}

func (t *total) add(one seeds.Sum) {
	t.Seeds++
	t.Simulated += one.Simulated
	t.Faults += one.Faults
	t.Operations += one.Operations
	t.Unknown += one.Unknown
	t.Entries += one.Entries
	t.Elections += one.Elections
	t.State = max(t.State, one.State)
	t.CPU += one.CPU
	if one.Violation != "" {
		t.Violations = append(t.Violations, one)
	}
}
