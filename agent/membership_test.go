package agent

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func TestAnEvictedNodeKeepsWhatStaysAndItsSecrets(t *testing.T) {
	placement := func(name, mode, secret string) *skerryv1.Placement {
		return &skerryv1.Placement{Project: "default", Name: name, Spec: &skerryv1.Workload{
			Partition: &skerryv1.Partition{Mode: mode},
			Container: &skerryv1.Container{Secrets: []*skerryv1.SecretUse{{Secret: secret}}},
		}}
	}
	last := &sitev1.Assignments{
		RaftId: 3, GossipKey: []byte{1}, Gossip: &sitev1.GossipRing{Keys: [][]byte{{1}}},
		Placements: []*skerryv1.Placement{placement("db-1", manifest.Stay, "db"), placement("web-1", manifest.Replicate, "tls")},
		Secrets:    []*sitev1.DeliveredSecret{{Project: "default", Name: "db"}, {Project: "default", Name: "tls"}},
	}
	own := OwnOrders(last)
	if len(own.GetPlacements()) != 1 || own.GetPlacements()[0].GetName() != "db-1" || len(own.GetSecrets()) != 1 || own.GetSecrets()[0].GetName() != "db" {
		t.Errorf("it keeps %v", own)
	}
	if own.GetRaftId() != 0 || own.GetGossipKey() != nil || own.GetGossip() != nil {
		t.Errorf("it still has a replica or keys: %v", own)
	}
	if len(last.GetSecrets()) != 2 || last.GetRaftId() != 3 {
		t.Error("the orders of before were changed")
	}
}
