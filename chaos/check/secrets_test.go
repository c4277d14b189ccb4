package check

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestASecretThatNobodyNamesIsNoticed(t *testing.T) {
	orders := &sitev1.Assignments{
		Placements: []*skerryv1.Placement{{Project: "p", Spec: &skerryv1.Workload{Container: &skerryv1.Container{
			Secrets: []*skerryv1.SecretUse{{Secret: "db"}},
		}}}},
		Secrets: []*sitev1.DeliveredSecret{{Project: "p", Name: "db"}},
	}
	if v := Delivered("n1", orders); v != nil {
		t.Error(v)
	}
	for _, other := range []*sitev1.DeliveredSecret{{Project: "p", Name: "tls"}, {Project: "q", Name: "db"}} {
		orders.Secrets = append(orders.Secrets[:1], other)
		if Delivered("n1", orders) == nil {
			t.Errorf("nobody noticed %v", other)
		}
	}
	if Opened("n1", "db", "a", "b") == nil || Opened("n1", "db", "a", "a") != nil {
		t.Error("what was read is not compared")
	}
}
