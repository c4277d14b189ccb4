// Command bench measures a real site on this machine. Usage: bench NAME, with
// NAME one of access, audit, coldstart, failover, gray, heal, overload, place, replace, revoke, rollout, schedule, sim, start, footprint, vm-many, vm-migrate, vm-replace, vm-start and write.
//
// Progress goes to standard error; the last line on standard output is one
// JSON object. docs/benchmarks.md holds the figures and their conditions.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// result is the JSON line. Figures are named; the main ones are those of n
// runs.
type result map[string]any

// benchmark measures; dir is empty and its own.
type benchmark func(ctx context.Context, binary, dir string) (result, error)

var benchmarks = map[string]benchmark{
	"access":     accessDecision,
	"audit":      auditCost,
	"coldstart":  coldstart,
	"failover":   failover,
	"footprint":  footprint,
	"gray":       gray,
	"heal":       heal,
	"overload":   overload,
	"place":      place,
	"replace":    replace,
	"revoke":     revoke,
	"rollout":    rollout,
	"schedule":   schedule,
	"sim":        simulation,
	"start":      start,
	"svid":       svid,
	"vm-many":    vmMany,
	"vm-migrate": vmMigrate,
	"vm-replace": vmReplace,
	"vm-start":   vmStart,
	"write":      write,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 3 && args[0] == callersName { // started by overload
		return call(ctx, args[1:], os.Stdin, os.Stdout)
	}
	if len(args) != 2 || benchmarks[args[0]] == nil {
		names := make([]string, 0, len(benchmarks))
		for name := range benchmarks {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("usage: bench %s BINARY", strings.Join(names, "|"))
	}
	binary, err := filepath.Abs(args[1]) // hosts run it elsewhere
	if err != nil {
		return err
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("there is no binary to measure: %w", err)
	}
	dir, err := os.MkdirTemp("/tmp", "skb")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // leaves at most temporary files
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	measured, err := benchmarks[args[0]](ctx, binary, dir)
	if err != nil {
		return err
	}
	measured["bench"] = args[0]
	line, err := json.Marshal(measured)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	return nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// summary of samples in the given unit.
func summary(samples []float64, unit string) result {
	s := slices.Sorted(slices.Values(samples))
	return result{"n": len(s), "median": median(s), "min": s[0], "max": s[len(s)-1], "unit": unit}
}

// median of sorted samples.
func median(s []float64) float64 {
	middle := len(s) / 2
	if len(s)%2 == 1 {
		return s[middle]
	}
	return (s[middle-1] + s[middle]) / 2
}

// percentile of sorted samples, p from 0 to 1.
func percentile(s []float64, p float64) float64 {
	return s[min(len(s)-1, int(p*float64(len(s))))]
}
