package whatif

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// TestTheShortWayTellsTheSame as the controllers, where it is certain: of any
// site, and of each single loss, whether all would run on. Which of several
// that are equal would not, depends on their names.
func TestTheShortWayTellsTheSame(t *testing.T) {
	certain := 0
	rapid.Check(t, func(r *rapid.T) {
		var nodes []string
		for i := range rapid.IntRange(1, 6).Draw(r, "nodes") {
			nodes = append(nodes, fmt.Sprintf("%s/n%d", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "zone"), i+1))
		}
		h := newHarbour(t, nodes...)
		var resources []*skerryv1.Resource
		for i := range rapid.IntRange(1, 4).Draw(r, "workloads") {
			cpu := rapid.SampledFrom([]string{"100m", "300m", "600m"}).Draw(r, "cpu")
			resources = append(resources, work(fmt.Sprintf("w%d", i), uint32(rapid.IntRange(0, 4).Draw(r, "replicas")), cpu, func(w *skerryv1.Workload) {
				switch rapid.IntRange(0, 8).Draw(r, "special") {
				case 0:
					stays(w)
				case 1:
					w.Replicas, w.PerNode = nil, true
				case 2:
					w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "zone", In: []string{"a"}}}}
				case 3:
					w.Place = &skerryv1.Place{Apart: []*skerryv1.Affinity{{Workload: w.GetName()}}}
				case 4:
					w.Place = &skerryv1.Place{With: []*skerryv1.Affinity{{Workload: "w0", On: "zone"}}}
				case 5:
					w.Priority = uint32(rapid.IntRange(1, 3).Draw(r, "priority"))
				case 6:
					waits(w)
				case 7:
					w.Replicas, w.Partition = proto.Uint32(min(1, w.GetReplicas())), &skerryv1.Partition{Mode: manifest.Exclusive, Lease: "10s"}
				}
			}))
		}
		if _, err := h.declare(declared(resources)); err != nil {
			r.Skip(err)
		}
		h.settle()
		if rapid.Bool().Draw(r, "one is lost") && len(nodes) > 2 {
			h.apply(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{
				Node: fmt.Sprintf("n%d", len(nodes)), State: skerryv1.NodeState_NODE_STATE_LOST,
			}}})
			h.settle()
		}
		short := newScreen(h.store.View())
		for _, loss := range single(h.store.View()) {
			quick, sure := short.lose(loss.question)
			if !sure {
				continue
			}
			certain++
			slow, err := Ask(h.store, loss.question, nil)
			if err != nil {
				r.Fatal(err)
			}
			if a, b := hurt(quick), hurt(slow); (len(a) > 0) != (len(b) > 0) || quick.GetQuorum() != slow.GetQuorum() {
				r.Fatalf("%s: quorum %t, stranded %v; by the controllers quorum %t, %v\n%v", loss.name, quick.GetQuorum(), a, slow.GetQuorum(), b, resources)
			}
		}
	})
	if certain == 0 {
		t.Error("it was never certain")
	}
}

// hurt are the workloads of what would not run, sorted.
func hurt(answer *skerryv1.WhatIfResponse) []string {
	answer = proto.CloneOf(answer)
	var all []string
	for _, s := range answer.GetStranded() {
		if answer.GetQuorum() && !waitsAlready(s) {
			all = append(all, s.GetWorkload())
		}
	}
	slices.Sort(all)
	return all
}

// What the random sites have found.
func TestTheShortWayIsSureOnlyWhereItIsRight(t *testing.T) {
	stay := func(w *skerryv1.Workload) { stays(w) }
	everywhere := func(w *skerryv1.Workload) { w.Replicas, w.PerNode = nil, true }
	beside := func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{With: []*skerryv1.Affinity{{Workload: "w0", On: "zone"}}}
	}
	inZoneA := func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "zone", In: []string{"a"}}}}
	}
	for _, test := range []struct {
		name      string
		nodes     []string
		resources []*skerryv1.Resource
	}{
		{"beside what is on each node, which is lost with it", []string{"a/n1", "b/n2", "a/n3"}, []*skerryv1.Resource{
			work("w0", 0, "600m", everywhere), work("w1", 2, "100m", beside), work("w2", 2, "600m", stay),
		}},
		{"some wait longer for their replacement than others", []string{"a/n1", "b/n2", "b/n3", "a/n4"}, []*skerryv1.Resource{
			work("w0", 0, "100m", stay), work("w1", 4, "300m", waits), work("w2", 1, "600m", inZoneA),
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarbour(t, test.nodes...)
			h.running(test.resources...)
			short := newScreen(h.store.View())
			for _, loss := range single(h.store.View()) {
				quick, sure := short.lose(loss.question)
				slow, err := Ask(h.store, loss.question, nil)
				if err != nil {
					t.Fatal(err)
				}
				if a, b := hurt(quick), hurt(slow); sure && (len(a) > 0) != (len(b) > 0) {
					t.Errorf("%s: stranded %v, by the controllers %v", loss.name, a, b)
				}
			}
		})
	}
}
