package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"skerry.dev/coordinator/scheduler"
)

const (
	scheduleRuns  = 7
	scheduleNodes = 10_000
)

// schedule measures the pure scheduler, without a site: from the state to the
// whole plan with its reasons. A placement a second is one that got a node in a
// second of one core, over all calls that it took, garbage collection included.
func schedule(ctx context.Context, _, _ string) (result, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	out := result{}
	for _, wishes := range []bool{false, true} {
		perNode := map[int][]float64{}
		for _, nodes := range []int{100, 1000, scheduleNodes} {
			for _, full := range []bool{false, true} {
				for _, one := range []bool{true, false} {
					w := waiting{nodes: nodes, full: full, one: one, wishes: wishes}
					rates, err := w.measure(ctx)
					if err != nil {
						return nil, err
					}
					progress("%s: %.0f placements/s", w.name(), median(rates))
					out[w.name()] = median(rates)
					perNode[nodes] = append(perNode[nodes], rates...)
				}
			}
		}
		s := summary(perNode[scheduleNodes], "placements/s")
		growth := summary(perNode[1000], "")["median"].(float64) / s["median"].(float64)
		if wishes {
			out["spread_median"], out["spread_min"], out["spread_growth"] = s["median"], s["min"], growth
			continue
		}
		for name, value := range s {
			out[name] = value
		}
		out["growth"] = growth
	}
	return out, nil
}

// waiting is one case: what waits for what site.
type waiting struct {
	nodes             int
	full, one, wishes bool
}

func (w waiting) name() string {
	name := fmt.Sprintf("%d_nodes", w.nodes)
	for _, part := range []struct {
		is   bool
		name string
	}{{w.full, "full"}, {!w.full, "empty"}, {w.one, "1x5000"}, {!w.one, "1000x5"}, {w.wishes, "spread"}} {
		if part.is {
			name += "_" + part.name
		}
	}
	return name
}

// measure placements a second in several runs, each of a state that the
// scheduler has not seen.
func (w waiting) measure(ctx context.Context) ([]float64, error) {
	var rates []float64
	for range scheduleRuns {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		in := w.site()
		runtime.GC()
		debug.FreeOSMemory()
		placed, begun := 0, used()
		for {
			plan := scheduler.Schedule(in)
			if len(plan.Assign) == 0 {
				break
			}
			placed += len(plan.Assign)
			if placed >= bulk || len(plan.Assign)+len(plan.Postpone) < scheduler.MaxDecisions {
				break
			}
		}
		took := used() - begun
		if placed != bulk {
			return nil, fmt.Errorf("%s: %d of %d placements got a node", w.name(), placed, bulk)
		}
		rates = append(rates, float64(placed)/took.Seconds())
	}
	slices.Sort(rates)
	return rates, nil
}

// used is the time that this process had a core for: others on the machine do
// not count.
func used() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it cannot fail for the process itself
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
