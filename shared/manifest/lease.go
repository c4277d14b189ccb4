package manifest

import (
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Bounds of a lease. Below the shortest there is no time left to stop a process
// that does not want to end, and to be sure of it.
const (
	ShortestLease = 5 * time.Second
	LongestLease  = time.Hour
	defaultLease  = "10s"
)

// LeaseOf is how long a node may run an exclusive workload without a word of the
// coordinator; 0 when the workload is not exclusive.
func LeaseOf(w *skerryv1.Workload) time.Duration {
	if w.GetPartition().GetMode() != Exclusive {
		return 0
	}
	lease, err := Duration(w.GetPartition().GetLease())
	if err != nil {
		return 0 // the state takes none of these
	}
	return lease
}

// DriftBound is how much longer than a lease whoever granted it waits: so much
// may the clocks of two machines differ in speed.
func DriftBound(lease time.Duration) time.Duration { return lease / 100 }

// exclusive checks what runs once at most.
func (v *validator) exclusive(w *skerryv1.Workload) {
	p := w.GetPartition()
	if p.GetMode() != Exclusive {
		if p.GetLease() != "" {
			v.fail("partition.lease", "only what is exclusive has a lease").Hint = "leave it out, or write mode: exclusive"
		}
		return
	}
	v.duration("partition.lease", p.GetLease(), ShortestLease, LongestLease)
	switch {
	case w.GetPerNode():
		v.fail("partition.mode", "exclusive is for one placement in the site, perNode for one on each node").Hint = "leave one of them out"
	case IsJob(w):
		v.fail("partition.mode", "a job cannot be exclusive").Hint = "concurrency: forbid keeps runs of one job apart"
	case w.GetReplicas() > 1:
		v.fail("replicas", "%d of what is exclusive: it runs once at most", w.GetReplicas()).Hint =
			"apply it under several names if each of them is to run once"
	}
}
