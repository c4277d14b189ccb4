package check

import (
	"testing"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestDecisions(t *testing.T) {
	const run, stop = skerryv1.DesiredState_DESIRED_STATE_RUN, skerryv1.DesiredState_DESIRED_STATE_STOP
	nodes := []*skerryv1.Node{
		{Name: "n1", State: skerryv1.NodeState_NODE_STATE_READY},
		{Name: "n2", State: skerryv1.NodeState_NODE_STATE_READY},
		{Name: "n3", State: skerryv1.NodeState_NODE_STATE_LOST},
	}
	web := func(generation uint64, replicas uint32) []*skerryv1.Workload {
		return []*skerryv1.Workload{{Name: "web", Project: "default", Generation: generation, Replicas: proto.Uint32(replicas)}}
	}
	placement := func(name, node string, desired skerryv1.DesiredState, readiness skerryv1.Readiness) *skerryv1.Placement {
		return &skerryv1.Placement{
			Name: name, Project: "default", Workload: "web", Generation: 1, Node: node, Desired: desired,
			Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: readiness},
		}
	}
	const good, bad = skerryv1.Readiness_READINESS_HEALTHY, skerryv1.Readiness_READINESS_UNHEALTHY
	a, b := placement("web-1", "n1", run, good), placement("web-2", "n2", run, good)
	for _, test := range []struct {
		name          string
		before, after []*skerryv1.Placement
		workloads     []*skerryv1.Workload
		want          Rule
	}{
		{"a surplus one ends", []*skerryv1.Placement{a, b}, []*skerryv1.Placement{a}, web(1, 1), ""},
		{"a needed one is told to stop", []*skerryv1.Placement{a, b}, []*skerryv1.Placement{a, placement("web-2", "n2", stop, good)}, web(1, 2), HealthyStays},
		{"a needed one vanishes", []*skerryv1.Placement{a, b}, []*skerryv1.Placement{a}, web(1, 2), HealthyStays},
		{"the healthy one ends and the unhealthy one is kept", []*skerryv1.Placement{a, placement("web-2", "n2", run, bad)}, []*skerryv1.Placement{placement("web-2", "n2", run, bad)}, web(1, 1), HealthyStays},
		{"an unhealthy one ends", []*skerryv1.Placement{a, placement("web-2", "n2", run, bad)}, []*skerryv1.Placement{a}, web(1, 2), ""},
		{"one of a lost node ends", []*skerryv1.Placement{a, placement("web-2", "n3", run, good)}, []*skerryv1.Placement{a}, web(1, 2), ""},
		{"one of an old generation ends", []*skerryv1.Placement{a}, nil, web(2, 1), ""},
		{"one of a deleted workload ends", []*skerryv1.Placement{a}, nil, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := NewDecisions()
			got := first(d.Observe(nodes, test.workloads, test.before), d.Observe(nodes, test.workloads, test.after))
			if got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}

// What gives way to something more important was there when the surplus was found.
func TestWhatIsExcusedCountsForTheOthers(t *testing.T) {
	var all []*skerryv1.Placement
	for _, name := range []string{"web-1", "web-2", "web-3"} {
		all = append(all, &skerryv1.Placement{
			Name: name, Project: "default", Workload: "web", Generation: 1, Node: "n1", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
			Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: skerryv1.Readiness_READINESS_HEALTHY},
		})
	}
	nodes := []*skerryv1.Node{{Name: "n1", State: skerryv1.NodeState_NODE_STATE_READY}}
	for replicas, want := range map[uint32]Rule{2: "", 3: HealthyStays} {
		web := []*skerryv1.Workload{{Name: "web", Project: "default", Generation: 1, Replicas: proto.Uint32(replicas)}}
		d := NewDecisions()
		before := d.Observe(nodes, web, all)
		d.Excuse(map[string]bool{"web-1": true})
		if got := first(before, d.Observe(nodes, web, all[1:2])); got != want {
			t.Errorf("with %d replicas it broke %q, want %q", replicas, got, want)
		}
	}
}

func TestHosts(t *testing.T) {
	h := NewHosts()
	ok := first(h.Started("n1", "default.web-1", "web", 0), h.Started("n2", "default.edge-1", "edge", 1),
		h.Stopped("n1", "default.web-1", skerryv1.DesiredState_DESIRED_STATE_STOP))
	h.Ended("default.web-1", "web", 0)
	if ok != "" || first(h.Started("n2", "default.web-1", "web", 0)) != "" {
		t.Errorf("a site where all is well broke %q", ok)
	}
	if got := first(h.Started("n3", "default.web-1", "web", 0)); got != OncePerPlacement {
		t.Errorf("one placement on two nodes broke %q", got)
	}
	if got := first(h.Started("n3", "default.edge-2", "edge", 1)); got != StayOnce {
		t.Errorf("a second copy of what stays broke %q", got)
	}
	if got := first(h.Stopped("n1", "default.web-1", skerryv1.DesiredState_DESIRED_STATE_RUN)); got != HealthyStays {
		t.Errorf("stopping what is wanted broke %q", got)
	}
}
