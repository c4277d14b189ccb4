package check

import (
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// GaveWay tells that a placement was ended to make room for another one, with
// the priorities that were asked for.
func GaveWay(victim *skerryv1.Placement, priority uint32, waits string, higher uint32, stays bool) *Violation {
	switch {
	case stays:
		return violated(Priority, "%s, which stays on its node, gives way to %s", victim.GetName(), waits)
	case priority >= higher:
		return violated(Priority, "%s of priority %d gives way to %s of priority %d", victim.GetName(), priority, waits, higher)
	}
	return nil
}

// StaysAvailable tells that the controllers have ended healthy placements of a
// workload, how many are healthy afterwards, and how many it was promised.
func StaysAvailable(workload string, ended []string, healthy, promised int) *Violation {
	if len(ended) > 0 && healthy < promised {
		return violated(MinAvailable, "%v of %s are ended while healthy, which leaves %d, and %d are promised", ended, workload, healthy, promised)
	}
	return nil
}

// GotNode tells that a placement got a node, which may be out of service.
func GotNode(placement, node string, outOfService, stays bool) *Violation {
	if outOfService && !stays {
		return violated(OutOfService, "%s goes to %s, which is out of service", placement, node)
	}
	return nil
}

// DrainEnded tells what is said of a drain that is over, and what there still is
// that may run elsewhere.
func DrainEnded(node, result string, givenUp bool, left []string) *Violation {
	if result == "" || !givenUp && len(left) > 0 {
		return violated(DrainEnds, "the drain of %s is over, given up %v, with %v left on it: %q", node, givenUp, left, result)
	}
	return nil
}

// Kept tells where a workload runs that must be kept in certain zones; none for
// anywhere.
func Kept(instance, zone string, allowed []string) *Violation {
	for _, one := range allowed {
		if one == zone {
			return nil
		}
	}
	if len(allowed) == 0 {
		return nil
	}
	return violated(Residency, "%s runs in %s and must be kept in %v", instance, zone, allowed)
}

// WithinQuota tells how many placements the workloads of a project ask for.
func WithinQuota(project string, asked, quota int) *Violation {
	if asked > quota {
		return violated(Quota, "the workloads of %s ask for %d placements, %d are allowed", project, asked, quota)
	}
	return nil
}
