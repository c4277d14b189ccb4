package reconcile

import skerryv1 "skerry.dev/shared/api/skerry/v1"

// copyOf a status, field by field: all placements are reported whenever one may
// have changed, and proto.Clone goes by reflection. What lies behind a pointer is
// shared: it is replaced, never changed. A test holds that no field is left out.
func copyOf(s *skerryv1.PlacementStatus) *skerryv1.PlacementStatus {
	return &skerryv1.PlacementStatus{
		Phase: s.GetPhase(), Readiness: s.GetReadiness(), Message: s.GetMessage(), Address: s.GetAddress(),
		Restarts: s.GetRestarts(), LastExit: s.GetLastExit(), Started: s.GetStarted(), Revision: s.GetRevision(),
		Identity: s.GetIdentity(), IdentityUntil: s.GetIdentityUntil(), Accel: s.GetAccel(), Snapshots: s.GetSnapshots(),
	}
}
