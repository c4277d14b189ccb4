package api

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
)

func TestWhatWaitsForANodeInMaintenanceIsNoProblem(t *testing.T) {
	waits := &skerryv1.Placement{
		Name: "db-2", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Decision: &skerryv1.Decision{Summary: "no node fits"},
		Spec: &skerryv1.Workload{
			Partition: &skerryv1.Partition{Mode: manifest.Stay},
			Place:     &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "name", In: []string{"n1"}}}},
		},
	}
	for duty, want := range map[skerryv1.Duty]string{
		skerryv1.Duty_DUTY_MAINTENANCE: "",
		skerryv1.Duty_DUTY_CORDONED:    "placement db-2 has no node: no node fits: skerry why db-2",
	} {
		nodes := []*skerryv1.Node{{Name: "n1", Duty: &skerryv1.NodeDuty{Duty: duty}}}
		if got := placementProblem(state.New().View(), nodes, waits); got != want {
			t.Errorf("with %s it tells %q, want %q", duty, got, want)
		}
	}
}

// nothingGranted is a coordinator that has just taken over, some time ago.
type nothingGranted struct{}

func (nothingGranted) Left(string, string, time.Duration, time.Duration) (time.Duration, bool) {
	return 0, false
}

// After a recovery nobody knows what runs on a node before it is heard: no lease
// ends there by itself.
func TestWhatIsExclusiveOnANodeThatWasNotHeardSinceARecovery(t *testing.T) {
	p := &skerryv1.Placement{
		Project: "default", Name: "plc-1", Workload: "plc", Node: "n2", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, LostSince: timestamppb.Now(),
		Spec: &skerryv1.Workload{Name: "plc", Project: "default", Partition: &skerryv1.Partition{Mode: manifest.Exclusive, Lease: "10s"}},
	}
	for _, test := range []struct {
		heard      uint64
		want, not  string
		replaced   bool
		nodeIsGone bool
	}{
		{heard: 1, want: "skerry node confirm-off n2", not: "another one takes its place"},
		{heard: 2, want: "is replaced", not: "confirm-off", replaced: true},
		{heard: 1, nodeIsGone: true, want: "another one takes its place", not: "confirm-off", replaced: true},
	} {
		node := &skerryv1.Node{Name: "n2", State: skerryv1.NodeState_NODE_STATE_LOST, SiteEpoch: test.heard}
		if test.nodeIsGone {
			node.State = skerryv1.NodeState_NODE_STATE_REMOVED
		}
		encoded, err := proto.Marshal(&sitev1.Snapshot{
			Index: 9, SiteEpoch: 2, Site: "harbour", Audit: &sitev1.AuditState{}, Nodes: []*skerryv1.Node{node}, Placements: []*skerryv1.Placement{p},
		})
		if err != nil {
			t.Fatal(err)
		}
		store := state.New()
		if err := store.RestoreOlder(encoded); err != nil {
			t.Fatal(err)
		}
		view := store.View()
		lease := leaseService{&Server{Config: Config{Clock: env.NewSystem().Clock}}}.leaseOf(view, nothingGranted{}, p)
		for where, text := range map[string]string{
			"status": placementProblem(view, view.Nodes(), p), "why": placementSummary(view, p), "leases": lease.GetSummary(),
		} {
			if !strings.Contains(text, test.want) || strings.Contains(text, test.not) {
				t.Errorf("heard in epoch %d, %s says %q", test.heard, where, text)
			}
		}
		if lease.GetReplacedNext() != test.replaced {
			t.Errorf("heard in epoch %d, it is replaced next: %t", test.heard, lease.GetReplacedNext())
		}
	}
}
