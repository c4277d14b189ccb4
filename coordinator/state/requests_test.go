package state

import (
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func TestARequestIDIsForOneRequest(t *testing.T) {
	s := newSite(t, 1)
	request := func(principal, label string) *sitev1.Entry {
		return &sitev1.Entry{RequestId: "r-1", Principal: principal, Change: &sitev1.Entry_ApplyResources{
			ApplyResources: &sitev1.ApplyResources{Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{
				Workload: &skerryv1.Workload{
					Kind: "Workload", Name: "web", Project: "default", Replicas: proto.Uint32(0),
					Labels:    map[string]string{"a": label, "b": "x", "c": "y"},
					Container: &skerryv1.Container{Image: "site.local/web:1", Resources: &skerryv1.Resources{Cpu: "100m", Memory: "64Mi"}},
					Partition: &skerryv1.Partition{Mode: "replicate", ReplaceAfter: "0s"},
				},
			}}}},
		}}
	}
	first := s.ok(request("mara", "1"))
	if again := s.ok(request("mara", "1")); again.GetIndex() != first.GetIndex() {
		t.Errorf("the retry got the outcome of entry %d, want that of %d", again.GetIndex(), first.GetIndex())
	}
	for name, other := range map[string]*sitev1.Entry{
		"other content": request("mara", "2"),
		"another asks":  request("jon", "1"),
	} {
		if outcome := s.apply(other); outcome.GetErrorKind() != string(problem.Conflict) {
			t.Errorf("%s: %v", name, outcome)
		}
	}
	if label := s.store.View().Workload("default", "web").GetLabels()["a"]; label != "1" {
		t.Errorf("the label is %q", label)
	}
}
