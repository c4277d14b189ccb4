package check

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// settled is a site of three nodes where all is well.
func settled() Site {
	s := Site{
		Running: map[string][]string{"n1": {"default.web-1"}},
		Members: map[string][]string{"n1": {"n2", "n3"}, "n2": {"n1", "n3"}, "n3": {"n1", "n2"}},
		Needs:   func(*skerryv1.Placement) Needs { return Needs{CPUMilli: 600, HostPorts: []string{"80/tcp"}} },
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		s.Nodes = append(s.Nodes, &skerryv1.Node{
			Name: name, State: skerryv1.NodeState_NODE_STATE_READY, Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER,
			Capacity: &skerryv1.Capacity{CpuMilli: 1000},
		})
	}
	s.Workloads = []*skerryv1.Workload{{Name: "web", Project: "default", Generation: 2, Replicas: proto.Uint32(1)}}
	s.Placements = []*skerryv1.Placement{{
		Name: "web-1", Project: "default", Workload: "web", Generation: 2, Node: "n1", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
		Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: skerryv1.Readiness_READINESS_HEALTHY},
	}}
	return s
}

func TestUnsettled(t *testing.T) {
	if got := Unsettled(settled()); len(got) != 0 {
		t.Fatalf("a settled site has %q", got)
	}
	for _, test := range []struct {
		name  string
		spoil func(*Site)
		want  string
	}{
		{"a lost node", func(s *Site) { s.Nodes[1].State = skerryv1.NodeState_NODE_STATE_LOST }, "node n2 is NODE_STATE_LOST"},
		{"split membership", func(s *Site) { s.Members["n1"] = []string{"n2"} }, "node n1 knows [n2] of 2 others"},
		{"too few voters", func(s *Site) { s.Nodes[2].Voter = 0 }, "voters are [n1 n2], want 3"},
		{"a missing replica", func(s *Site) { s.Workloads[0].Replicas = proto.Uint32(2) }, "has 1 healthy and 0 pending placements, wants 2"},
		{"an old generation", func(s *Site) { s.Placements[0].Generation = 1 }, "runs generation 1, not 2"},
		{"an unhealthy placement", func(s *Site) { s.Placements[0].Status.Readiness = skerryv1.Readiness_READINESS_UNHEALTHY }, "READINESS_UNHEALTHY"},
		{"a placement to stop", func(s *Site) { s.Placements[0].Desired = skerryv1.DesiredState_DESIRED_STATE_STOP }, "still to be stopped"},
		{"pending with room elsewhere", func(s *Site) { s.Placements[0].Node = "" }, "pending though n1 has room"},
		{"a placement that does not run", func(s *Site) { s.Running = nil }, "does not really run on n1"},
		{"a restart that never was", func(s *Site) {
			s.Placements[0].Status.Restarts = 1
			s.Starts = func(string) int { return 1 }
		}, "default.web-1 says that it was started 1 times again, and was started 1 times"},
		{"a leftover", func(s *Site) { s.Running["n3"] = []string{"default.old-1"} }, "default.old-1 runs on n3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := settled()
			test.spoil(&s)
			if got := strings.Join(Unsettled(s), "; "); !strings.Contains(got, test.want) {
				t.Errorf("got %q, want it to contain %q", got, test.want)
			}
		})
	}
}
