package check

// RunsOnce tells all instances of an exclusive workload that run at this moment,
// with their nodes.
func RunsOnce(workload string, running []string) *Violation {
	if len(running) > 1 {
		return violated(ExclusiveOnce, "%s runs as %v", workload, running)
	}
	return nil
}
