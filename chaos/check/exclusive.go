package check

import "time"

// RunsAgain tells for how long all has been well, and an exclusive workload has not
// run all the same; most is how long that may be.
func RunsAgain(workload string, idle, most time.Duration) *Violation {
	if idle > most {
		return violated(ExclusiveRuns, "%s has not run for %s, though all is well", workload, idle)
	}
	return nil
}

// RunsOnce tells all instances of an exclusive workload that run at this moment,
// with their nodes.
func RunsOnce(workload string, running []string) *Violation {
	if len(running) > 1 {
		return violated(ExclusiveOnce, "%s runs as %v", workload, running)
	}
	return nil
}
