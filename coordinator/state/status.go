package state

import (
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// statusBatch takes over what nodes reported. A report that does not fit the
// state any more is passed over and counted.
func (x *tx) statusBatch(batch *sitev1.StatusBatch) (*sitev1.Outcome, error) {
	outcome := &sitev1.Outcome{}
	for _, report := range batch.GetReports() {
		node := nodes.get(x.rows, report.GetNode())
		if node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			outcome.Rejected++
			continue
		}
		if report.GetFacts() != nil {
			x.nodeFacts(node, report.GetFacts())
		}
		for _, p := range report.GetPlacements() {
			if !x.placementReport(node.GetName(), p) {
				outcome.Rejected++
			}
		}
	}
	return outcome, nil
}

// placementReport reports whether it was of use.
func (x *tx) placementReport(node string, report *sitev1.PlacementReport) bool {
	old := placements.get(x.rows, key(report.GetProject(), report.GetPlacement()))
	if old == nil || (old.GetNode() != node && otherOf(old) != node) {
		return false
	}
	old = x.reportMigration(node, old, report.GetMigration())
	if report.GetLapsed() && old.GetNode() == node {
		old = x.reportLapsed(old)
	}
	if report.GetGone() && otherOf(old) != "" && (old.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP || !HeldBy(old, node)) {
		x.partGone(node, old, true)
		return true
	}
	if old.GetNode() != node {
		return report.GetMigration() != nil
	}
	if report.GetGone() {
		// A node that has lost what it should run gets it again with its orders:
		// only what is to be stopped is forgotten.
		if old.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_STOP {
			return false
		}
		x.volumesStay(old)
		placements.remove(x, placements.key(old))
		x.inform(aboutPlacement(old), "PlacementStopped", "nothing of it is left on %s", node)
		return true
	}
	if old.GetEnded() != nil {
		return true // the record of how it ended stays
	}
	if report.GetStatus() == nil || report.GetStatus().GetRevision() < old.GetStatus().GetRevision() {
		return false
	}
	status := shallow(report.GetStatus())
	status.Message = bounded(status.GetMessage(), maxMessage)
	status.Snapshots = boundedSnapshots(status.GetSnapshots())
	status.Address = bounded(status.GetAddress(), maxAddress)
	status.Identity = ""
	if status.GetIdentityUntil() != nil { // whose it is, no node says
		status.Identity = "spiffe://" + x.meta.site + "/workload/" + old.GetProject() + "/" + old.GetWorkload()
	}
	if proto.Equal(status, old.GetStatus()) {
		return true
	}
	p := shallow(old)
	p.Status = status
	x.tellStatus(old, p)
	over := p.GetRun() != 0 && Counts(p) && (status.GetPhase() == skerryv1.Phase_PHASE_STOPPED || status.GetPhase() == skerryv1.Phase_PHASE_FAILED)
	if over {
		p.Ended = x.time
	}
	x.putPlacement(p)
	if status.GetPhase() == skerryv1.Phase_PHASE_RUNNING {
		x.volumesFollow(p) // those of a machine whose old node will never say that it has left
	}
	if over {
		x.attemptOver(p, status.GetPhase() == skerryv1.Phase_PHASE_STOPPED)
	}
	return true
}

// tellStatus makes an event of what people want to know of a change.
func (x *tx) tellStatus(old, p *skerryv1.Placement) {
	about, status := aboutPlacement(p), p.GetStatus()
	if status.GetPhase() != old.GetStatus().GetPhase() {
		switch status.GetPhase() {
		case skerryv1.Phase_PHASE_RUNNING:
			x.inform(about, "PlacementRunning", "on %s", p.GetNode())
		case skerryv1.Phase_PHASE_STOPPED:
			x.inform(about, "PlacementEnded", "%s", status.GetMessage())
		case skerryv1.Phase_PHASE_BACKOFF:
			x.warn(about, "PlacementBackoff", "%s", status.GetMessage())
		case skerryv1.Phase_PHASE_FAILED:
			x.warn(about, "PlacementFailed", "%s", status.GetMessage())
		}
	}
	if p.GetSpec().GetHealth() == nil || status.GetReadiness() == old.GetStatus().GetReadiness() {
		return
	}
	switch status.GetReadiness() {
	case skerryv1.Readiness_READINESS_HEALTHY:
		x.inform(about, "PlacementHealthy", "on %s", p.GetNode())
	case skerryv1.Readiness_READINESS_UNHEALTHY:
		x.warn(about, "PlacementUnhealthy", "%s", status.GetMessage())
	}
}
