package check

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// turns is a site where web starts after db; the entries from 1 on each show
// placements, which run.
func turns(entries ...[]*skerryv1.Placement) *InTurn {
	one := uint32(1)
	o := NewInTurn(map[string][]string{"web": {"db"}})
	nodes := []*skerryv1.Node{{Name: "n1", State: skerryv1.NodeState_NODE_STATE_READY}, {Name: "n2"}}
	workloads := []*skerryv1.Workload{{Name: "db", Replicas: &one}, {Name: "web", Replicas: &one}}
	for i, placements := range entries {
		o.Observe(uint64(i+1), nodes, workloads, placements)
	}
	return o
}

func running(workload, node string) *skerryv1.Placement {
	return &skerryv1.Placement{
		Name: workload + "-1", Workload: workload, Node: node, Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
		Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: skerryv1.Readiness_READINESS_HEALTHY},
	}
}

func TestTheOrderOfAfter(t *testing.T) {
	nothing, db := []*skerryv1.Placement{}, []*skerryv1.Placement{running("db", "n1")}
	both := append([]*skerryv1.Placement{running("web", "n1")}, db...)
	lost := append([]*skerryv1.Placement{running("web", "n2")}, db...)
	for _, test := range []struct {
		name string
		got  *Violation
		want Rule
	}{
		{"what it waits for is there", turns(nothing, db).Starts("web-1", "web", 2), ""},
		{"what it waits for was there when the plan was made", turns(db, nothing).Starts("web-1", "web", 1), ""},
		{"what it waits for is not there", turns(nothing, nothing).Starts("web-1", "web", 1), InOrder},
		{"what it waits for is not there any more", turns(db, nothing).Starts("web-1", "web", 2), InOrder},
		{"nobody waits for it", turns(nothing).Starts("db-1", "db", 1), ""},
		{"nothing is left of what started after it", turns(both, db).Stops("db-1", "db", 2), ""},
		{"on a lost node something is left", turns(lost).Stops("db-1", "db", 1), ""},
		{"something is left of what started after it", turns(both, both).Stops("db-1", "db", 1), InOrder},
		{"what is last stops first", turns(both).Stops("web-1", "web", 1), ""},
		{"nothing runs in a stopped site", NothingRuns("n1", nil), ""},
		{"something runs in a stopped site", NothingRuns("n1", []string{"web-1"}), Stopped},
		{"something begins in a stopped site", Began("web-1"), Stopped},
		{"people start it", StartsAgain(true, 3, 0), ""},
		{"the power came back for most", StartsAgain(false, 3, 2), ""},
		{"the power came back for one", StartsAgain(false, 3, 1), Stopped},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := first(test.got); got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}
