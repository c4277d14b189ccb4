package api

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestAnUpdateThatWaitsForNodesNamesThem(t *testing.T) {
	store := nodesOf(t, 4)
	store.Apply(store.View().Index()+1, &sitev1.Entry{Change: &sitev1.Entry_SetNodeState{
		SetNodeState: &sitev1.SetNodeState{Node: "n2", State: skerryv1.NodeState_NODE_STATE_LOST},
	}})
	each := &skerryv1.Workload{Name: "each", PerNode: true, Partition: &skerryv1.Partition{Mode: "stay"}, Generation: 2}
	on := func(node string, generation uint64) *skerryv1.Placement {
		return &skerryv1.Placement{Workload: "each", Node: node, Generation: generation, Spec: each, Desired: skerryv1.DesiredState_DESIRED_STATE_RUN}
	}
	for _, test := range []struct {
		name string
		all  []*skerryv1.Placement
		want string
	}{
		{"all are there", []*skerryv1.Placement{on("n1", 1), on("n3", 2)}, ""},
		{"one is lost", []*skerryv1.Placement{on("n1", 1), on("n2", 1)}, "it waits for node n2, lost"},
		{"what may go elsewhere waits for nobody", []*skerryv1.Placement{{Node: "n2", Generation: 1, Spec: &skerryv1.Workload{}}}, ""},
	} {
		if got := awayFrom(store.View(), each, test.all); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
