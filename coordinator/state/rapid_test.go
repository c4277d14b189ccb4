package state

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestReplicasNeverDiverge gives two stores the same random entries; one of
// them is restored from a snapshot now and then. All that they tell must be
// the same, and no workload that stays ever has more placements on nodes than
// it has asked for at once.
func TestReplicasNeverDiverge(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a := newSite(t, 3)
		b := newSite(t, 3)
		most := map[string]uint32{}
		for range rapid.IntRange(1, 60).Draw(r, "entries") {
			entry := randomEntry(r, a)
			if apply := entry.GetApplyResources(); apply != nil {
				for _, resource := range apply.GetResources() {
					w := resource.GetWorkload()
					most[w.GetName()] = max(most[w.GetName()], w.GetReplicas())
				}
			}
			same := proto.CloneOf(entry) // it belongs to the state that applies it
			outcomeA, outcomeB := a.apply(entry), b.apply(same)
			if !proto.Equal(outcomeA, outcomeB) {
				r.Fatalf("the outcomes differ: %v and %v", outcomeA, outcomeB)
			}
			if a.store.Hash() != b.store.Hash() {
				r.Fatalf("after %v the hashes differ", entry)
			}
			if rapid.IntRange(0, 9).Draw(r, "restart") == 0 {
				b.restart()
			}
			for name, replicas := range most {
				if held := a.bound(name); uint32(len(held)) > replicas {
					r.Fatalf("after %v, %s may run as %v, at most %d were asked for", entry, name, held, replicas)
				}
			}
		}
		if !bytes.Equal(marshal(t, a.store), marshal(t, b.store)) {
			r.Fatal("equal states give other snapshots")
		}
	})
}

func marshal(t testing.TB, s *Store) []byte {
	t.Helper()
	data, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// randomEntry is one that a client, an agent or a controller could send, right
// or wrong.
func randomEntry(r *rapid.T, s *site) *sitev1.Entry {
	workload := rapid.SampledFrom([]string{"web", "db"}).Draw(r, "workload")
	node := rapid.SampledFrom([]string{"n1", "n2", "n3", "n4"}).Draw(r, "node")
	placement := fmt.Sprintf("%s-%d", workload, rapid.IntRange(1, 5).Draw(r, "number"))
	entry := &sitev1.Entry{}
	switch rapid.IntRange(0, 16).Draw(r, "kind") {
	case 0, 1:
		w := testWorkload(workload, rapid.Uint32Range(0, 3).Draw(r, "replicas"), stays)
		w.Container.Command = []string{rapid.SampledFrom([]string{"a", "b"}).Draw(r, "command")}
		w.Update.AutoRollback = rapid.Bool().Draw(r, "auto rollback")
		entry = applyEntry(w)
	case 2:
		kind := rapid.SampledFrom([]string{"Workload", "Placement"}).Draw(r, "kind of resource")
		name := workload
		if kind == "Placement" {
			name = placement
		}
		entry = deleteEntry(kind, name)
	case 3:
		state := rapid.SampledFrom([]skerryv1.NodeState{skerryv1.NodeState_NODE_STATE_READY, skerryv1.NodeState_NODE_STATE_LOST}).Draw(r, "state")
		entry.Change = &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: node, State: state, Reason: "a test"}}
	case 4:
		entry = joinEntry(node, testNode(int(node[1]-'0')))
	case 5:
		entry.Change = &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token:      &skerryv1.Token{Id: "t-" + node, Role: "node", Expires: &timestamppb.Timestamp{Seconds: int64(s.index) + 20}},
			SecretHash: fingerprint("secret of " + node),
		}}
	case 6, 7:
		entry.Change = &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
			Node: node,
			Placements: []*sitev1.PlacementReport{{
				Project: "default", Placement: placement, Gone: rapid.Bool().Draw(r, "gone"),
				Status: &skerryv1.PlacementStatus{
					Phase:    rapid.SampledFrom([]skerryv1.Phase{skerryv1.Phase_PHASE_RUNNING, skerryv1.Phase_PHASE_FAILED}).Draw(r, "phase"),
					Revision: rapid.Uint64Range(1, 5).Draw(r, "revision"),
				},
			}},
		}}}}
	case 8:
		entry = declareEntry(policyNamed(workload, node), projectNamed("shop", &skerryv1.Quota{Placements: proto.Uint32(uint32(s.index))}))
		entry.AccessRevision = s.index - rapid.Uint64Range(0, min(4, s.index)).Draw(r, "judged")
	case 9:
		role := rapid.SampledFrom([]string{"admin", "viewer"}).Draw(r, "role")
		entry = grantEntry("admin", []*skerryv1.Grant{{Role: role}}, []*skerryv1.Grant{{Role: "viewer"}})
	case 10:
		entry = randomRevocation(r, node)
	case 11:
		entry.Change = &sitev1.Entry_SteerRollout{SteerRollout: &sitev1.SteerRollout{
			Project: "default", Workload: workload, Action: skerryv1.SteerAction(rapid.IntRange(0, 5).Draw(r, "action")),
			Generation: rapid.Uint64Range(0, 3).Draw(r, "back to"),
		}}
	default:
		generation := s.store.View().Workload("default", workload).GetGeneration()
		plan := &sitev1.Plan{BaseIndex: s.index - rapid.Uint64Range(0, min(4, s.index)).Draw(r, "age")}
		switch rapid.IntRange(0, 4).Draw(r, "part") {
		case 0:
			plan.Remove = append(plan.Remove, remove(placement))
		case 1:
			plan.Create = append(plan.Create, replaces(workload, generation, placement))
		case 2:
			plan.Create = append(plan.Create, create(workload, generation), create(workload, generation))
			plan.Create[0].Stable = rapid.Bool().Draw(r, "stable")
			plan.Rollouts = append(plan.Rollouts, &sitev1.RolloutStep{
				Project: "default", Workload: workload, Generation: generation,
				Verdict: sitev1.RolloutVerdict(rapid.IntRange(0, 3).Draw(r, "verdict")), Reason: "a test",
			})
		default:
			plan.Assign = append(plan.Assign, assign(placement, node))
		}
		entry.Change = &sitev1.Entry_Plan{Plan: plan}
	}
	entry.RequestId = rapid.SampledFrom([]string{"", "", "r-1", "r-2", "r-3"}).Draw(r, "request")
	return entry
}
