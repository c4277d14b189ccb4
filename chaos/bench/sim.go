package main

import (
	"context"
	"fmt"
	"time"

	"skerry.dev/chaos/seeds"
)

// simulation measures how fast simulated time goes by: seconds of it for each
// second of one core, so that other work on the machine matters little. The main
// figures are those of whole sites; core is the consensus core alone, of which a
// seed is a day with one voter, with three and with five.
func simulation(ctx context.Context, _, _ string) (result, error) {
	site, err := simulated(ctx, "campaign", 6)
	if err != nil {
		return nil, err
	}
	core, err := simulated(ctx, "core", 3)
	if err != nil {
		return nil, err
	}
	out := summary(site, "simulated s per s of one core")
	for name, value := range summary(core, "") {
		if name != "unit" {
			out["core_"+name] = value
		}
	}
	return out, nil
}

// simulated runs some seeds and returns the speed of each.
func simulated(ctx context.Context, pace string, last uint64) ([]float64, error) {
	var speeds []float64
	var broken error
	plan := seeds.Plan{Package: "./chaos/sim", First: 1, Last: last, Procs: 1, Env: []string{"SKERRY_SIM_PACE=" + pace}, Timeout: 10 * time.Minute}
	err := seeds.Run(ctx, plan, func(one seeds.Sum) {
		if one.Violation != "" {
			broken = fmt.Errorf("seed %d: %s", one.Seed, one.Violation)
			return
		}
		progress("%s, seed %d: %.0f s in %.1f s of a core", pace, one.Seed, one.Simulated, one.CPU)
		speeds = append(speeds, one.Simulated/one.CPU)
	})
	if err == nil {
		err = broken
	}
	return speeds, err
}
