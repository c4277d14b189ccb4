package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// PlacementEvicted is the reason of the event when a placement ends to make room
// for another one.
const PlacementEvicted = "PlacementEvicted"

// GivesWay tells whether a placement may be ended, or waited for when it stops
// already, to make room for one of the workload: never what has the same or a
// higher priority, nor what stays on its node, nor what its own workload cannot
// spare: spare is how many of that may be ended.
func GivesWay(victim *skerryv1.Placement, w *skerryv1.Workload, spare int) bool {
	if victim.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
		return true
	}
	return !IsStay(victim.GetSpec()) && victim.GetSpec().GetPriority() < w.GetPriority() && (spare > 0 || !IsHealthy(victim))
}

// planEviction ends a placement to make room for another one that still waits.
func (x *tx) planEviction(part *sitev1.Eviction) bool {
	victim := placements.get(x.rows, key(part.GetProject(), part.GetPlacement()))
	waits := placements.get(x.rows, key(part.GetForProject(), part.GetForPlacement()))
	if victim.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || victim.GetNode() == "" || !pending(waits) {
		return false
	}
	k := key(victim.GetProject(), victim.GetWorkload())
	if !GivesWay(victim, waits.GetSpec(), Spare(workloads.get(x.rows, k).GetWorkload(), placements.by(x.rows, byWorkload, k), Unlimited)) {
		return false
	}
	x.stop(victim)
	x.warn(aboutPlacement(victim), PlacementEvicted, "on %s it gives way to %s of priority %d; its own is %d",
		victim.GetNode(), waits.GetName(), waits.GetSpec().GetPriority(), victim.GetSpec().GetPriority())
	return true
}
