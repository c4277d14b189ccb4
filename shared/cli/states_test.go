package cli

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestPlacementStates(t *testing.T) {
	of := func(phase skerryv1.Phase, change ...func(*skerryv1.Placement)) *skerryv1.Placement {
		p := placement(workload("web", 1), "web-1", "node-1", phase)
		for _, c := range change {
			c(p)
		}
		return p
	}
	readiness := func(r skerryv1.Readiness) func(*skerryv1.Placement) {
		return func(p *skerryv1.Placement) { p.Status.Readiness = r }
	}
	unchecked := func(p *skerryv1.Placement) { p.Spec.Health = nil }
	for _, test := range []struct {
		placement *skerryv1.Placement
		want      string
		works     bool
	}{
		{of(skerryv1.Phase_PHASE_ASSIGNED), "assigned", false},
		{of(skerryv1.Phase_PHASE_PREPARING), "preparing", false},
		{of(skerryv1.Phase_PHASE_RUNNING, readiness(skerryv1.Readiness_READINESS_STARTING)), "starting", false},
		{of(skerryv1.Phase_PHASE_RUNNING), "healthy", true},
		{of(skerryv1.Phase_PHASE_RUNNING, readiness(skerryv1.Readiness_READINESS_UNHEALTHY)), "unhealthy", false},
		{of(skerryv1.Phase_PHASE_RUNNING, unchecked, readiness(skerryv1.Readiness_READINESS_UNSPECIFIED)), "running", true},
		{of(skerryv1.Phase_PHASE_BACKOFF), "restarting", false},
		{of(skerryv1.Phase_PHASE_STOPPING), "stopping", false},
		{of(skerryv1.Phase_PHASE_STOPPED), "stopped", false},
		{of(skerryv1.Phase_PHASE_FAILED), "failed", false},
		{of(skerryv1.Phase_PHASE_RUNNING, func(p *skerryv1.Placement) { p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP }), "stopping", false},
		{of(skerryv1.Phase_PHASE_PENDING, func(p *skerryv1.Placement) { p.Node = "" }), "pending", false},
		{of(skerryv1.Phase_PHASE_RUNNING, func(p *skerryv1.Placement) { p.LostSince = ago(0) }), "lost", false},
	} {
		if got := placementState(test.placement); got != test.want || works(test.placement) != test.works {
			t.Errorf("%s, works %t; want %s, %t", got, works(test.placement), test.want, test.works)
		}
	}
}
