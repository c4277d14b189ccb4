package state

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

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

// The coordinator names a deadline by site time, and finds the moves of a rebalance,
// each time that it is asked: a retry asks for the same all the same.
func TestARetryOfWhatTheCoordinatorFillsInHasNoFurtherEffect(t *testing.T) {
	for name, change := range map[string]func(second int64) *sitev1.Entry{
		"a drain": func(second int64) *sitev1.Entry {
			e := duty("n2", skerryv1.Duty_DUTY_DRAINED)
			e.GetChangeDuty().Deadline = &timestamppb.Timestamp{Seconds: second}
			return e
		},
		"a stop of the site": func(second int64) *sitev1.Entry {
			return &sitev1.Entry{Change: &sitev1.Entry_StopSite{StopSite: &sitev1.StopSite{
				Reason: "the hall is moved", Deadline: &timestamppb.Timestamp{Seconds: second}, Known: []string{"n1", "n2"}[:second%2],
			}}}
		},
		"a rebalance": func(second int64) *sitev1.Entry {
			return &sitev1.Entry{Change: &sitev1.Entry_StartRebalance{StartRebalance: &sitev1.StartRebalance{
				Deadline: &timestamppb.Timestamp{Seconds: second}, Moves: []*skerryv1.RebalanceMove{{Project: "default", Placement: "web-1", Why: fmt.Sprint(second)}},
			}}}
		},
	} {
		s := newSite(t, 2)
		s.ok(applyEntry(testWorkload("web", 1)))
		s.want(0, creates(create("web", 1)))
		first, again := change(2_000_000_000), change(2_000_000_001)
		first.RequestId, again.RequestId = "r-1", "r-1"
		if a, b := s.ok(first), s.apply(again); a.GetIndex() != b.GetIndex() || b.GetErrorKind() != "" {
			t.Errorf("%s: %v, then %v", name, a, b)
		}
	}
}
