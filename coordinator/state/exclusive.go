package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// IsExclusive tells whether placements of the workload run under leases.
func IsExclusive(w *skerryv1.Workload) bool { return w.GetPartition().GetMode() == manifest.Exclusive }

// checkLease refuses a lease that the controllers could not live with.
func checkLease(about string, w *skerryv1.Workload) error {
	if !IsExclusive(w) {
		return nil
	}
	invalid := func(field, format string, args ...any) error {
		return problem.New(problem.Invalid, about, format, args...).WithField(field)
	}
	switch lease := manifest.LeaseOf(w); {
	case lease < manifest.ShortestLease || lease > manifest.LongestLease:
		return invalid("partition.lease", "it must be %s to %s", manifest.ShortestLease, manifest.LongestLease)
	case w.GetPerNode() || manifest.IsJob(w) || w.GetReplicas() > 1:
		return invalid("partition.mode", "what is exclusive runs once at most, and does not end by itself")
	default:
		return nil
	}
}

// checkLeaseStays refuses to change the lease of what may be running: its node
// and the coordinator must mean the same by it, also when neither reaches the
// other.
func (x *tx) checkLeaseStays(present, next *skerryv1.Workload) error {
	if present == nil || manifest.LeaseOf(present) == manifest.LeaseOf(next) {
		return nil
	}
	for _, p := range placements.by(x.rows, byWorkload, key(next.GetProject(), next.GetName())) {
		if p.GetNode() != "" && p.GetEnded() == nil && p.GetLapsed() == nil {
			return problem.New(problem.Conflict, "Workload/"+next.GetName(), "%s may be running on %s: to become exclusive or not, or to get another lease, it must be stopped first",
				p.GetName(), p.GetNode()).WithField("partition").WithHint("apply it with replicas: 0, and once nothing of it is left, as it is to be")
		}
	}
	return nil
}

// MayRun tells whether an exclusive placement may be running somewhere, so that
// nothing may be started in its place.
func MayRun(p *skerryv1.Placement) bool {
	return IsExclusive(p.GetSpec()) && p.GetNode() != "" && p.GetEnded() == nil && p.GetLapsed() == nil
}

// planLapse takes over that nobody holds the lease of a placement any more. The
// coordinator that decided so grants it never again, and each that comes after
// it knows this entry.
func (x *tx) planLapse(part *sitev1.LeaseLapse) bool {
	old := placements.get(x.rows, key(part.GetProject(), part.GetPlacement()))
	if old == nil || !MayRun(old) {
		return false
	}
	if node := nodes.get(x.rows, old.GetNode()); max(1, node.GetSiteEpoch()) < x.siteEpoch && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
		return false // nobody knows who has granted what there (SAFETY, rule 4)
	}
	x.warn(aboutPlacement(old), "LeaseLapsed", "its node %s is lost, and its lease of %s has ended: it runs there no more",
		old.GetNode(), old.GetSpec().GetPartition().GetLease())
	if nodes.get(x.rows, old.GetNode()).GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		placements.remove(x, placements.key(old)) // its node will not tell that nothing is left
		return true
	}
	p := shallow(old)
	p.Lapsed, p.Desired = x.time, skerryv1.DesiredState_DESIRED_STATE_STOP
	x.putPlacement(p)
	return true
}

// reportLapsed takes over that a node does not run a placement again, because its
// lease has ended. It is gone once the node says so.
func (x *tx) reportLapsed(old *skerryv1.Placement) *skerryv1.Placement {
	if !IsExclusive(old.GetSpec()) || old.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
		return old
	}
	p := shallow(old)
	p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
	x.putPlacement(p)
	x.warn(aboutPlacement(p), "LeaseLapsed", "%s stopped it: its lease of %s had ended", p.GetNode(), p.GetSpec().GetPartition().GetLease())
	return p
}
