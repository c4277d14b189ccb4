package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func (s *fakeSite) WhatIf(_ context.Context, req *connect.Request[skerryv1.WhatIfRequest]) (*connect.Response[skerryv1.WhatIfResponse], error) {
	s.question = req.Msg
	return connect.NewResponse(s.foresight), nil
}

func TestWhatIfShowsWhatWouldMoveAndWhatWouldNotRun(t *testing.T) {
	site := harbour()
	site.foresight = &skerryv1.WhatIfResponse{
		Quorum: true, Voters: 3, VotersLeft: 2, Settled: true, Freshness: site.freshness,
		Moves: []*skerryv1.Move{
			{Project: "default", Workload: "web", Placement: "web-1", From: "node-1", To: "node-3"},
			{Project: "default", Workload: "db", To: "node-3"},
		},
		Stranded: []*skerryv1.Stranded{{Project: "default", Workload: "big", Placement: "big-1", Node: "node-1", Why: "no node fits: 2 nodes without 4000m CPU free"}},
	}
	expect(t, site, "whatif --lose node-1 --lose zone=rack-b --add 2x,cpu=8,mem=32Gi,zone=rack-d,disk=ssd", 0, `
Quorum:  stands, 2 of 3 voters left

Would move:
  WORKLOAD  PLACEMENT  FROM    TO
  web       web-1      node-1  node-3
  db        -          -       node-3

Would not run:
  WORKLOAD  PLACEMENT  NODE    WHY
  big       big-1      node-1  no node fits: 2 nodes without 4000m CPU free

1 placement would not run.
`, "")
	want := &skerryv1.WhatIfRequest{
		LoseNodes: []string{"node-1"}, LoseZones: []string{"rack-b"},
		Add: []*skerryv1.Machines{{Count: 2, Cpu: "8", Memory: "32Gi", Zone: "rack-d", Labels: map[string]string{"disk": "ssd"}}},
	}
	if diff := cmp.Diff(want, site.question, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestAQuorumThatIsNotThereDoesNotStand(t *testing.T) {
	site := harbour()
	site.freshness = &skerryv1.Freshness{Epoch: "1.7", Stale: true, Node: "node-2", AsOf: timestamppb.New(time.Date(2026, 11, 23, 13, 46, 29, 0, time.UTC))}
	site.foresight = &skerryv1.WhatIfResponse{Quorum: true, Voters: 3, VotersLeft: 2, Settled: true, Freshness: site.freshness}
	expect(t, site, "whatif --lose node-1", 0, `
Quorum:  NO, nothing can be changed now; if all voters were back: stands, 2 of 3 voters left

Everything that runs now would run on.
`, "! stale: answered by node-2 without quorum, state of unknown age, last changed 2026-11-23 13:46:29Z by site time (epoch 1.7)\n")
}

func TestWhatWaitsAlreadyIsNotBlamedOnTheLoss(t *testing.T) {
	site := harbour()
	site.foresight = &skerryv1.WhatIfResponse{
		Quorum: true, Voters: 3, VotersLeft: 2, Settled: true, Freshness: site.freshness,
		Stranded: []*skerryv1.Stranded{{Project: "default", Workload: "big", Placement: "big-1", Why: "no node fits: 2 nodes without 4000m CPU free"}},
	}
	expect(t, site, "whatif --lose node-1", 0, `
Quorum:  stands, 2 of 3 voters left

Has no node now, and would have none:
  WORKLOAD  PLACEMENT  WHY
  big       big-1      no node fits: 2 nodes without 4000m CPU free

Everything that runs now would run on.
`, "")
}

func TestADryRunDoesNotSayThatWhatStaysWouldNotRun(t *testing.T) {
	site := harbour()
	site.foresight = &skerryv1.WhatIfResponse{
		Quorum: true, Voters: 3, VotersLeft: 3, Settled: true, Freshness: site.freshness,
		Stranded: []*skerryv1.Stranded{{Project: "default", Workload: "db", Placement: "db-1", Node: "node-1", Why: "it stays on its node and runs on there"}},
	}
	expect(t, site, "drain node-1 --dry-run", 0, `
Quorum:  stands, 3 of 3 voters left

Cannot move as things are:
  WORKLOAD  PLACEMENT  NODE    WHY
  db        db-1       node-1  it stays on its node and runs on there

1 placement cannot move as things are.
`, "")
}

func TestMachinesThatAreNotDescribed(t *testing.T) {
	for _, text := range []string{"", "2x", "cpu=8", "x,cpu=8,mem=1Gi", "-1x,cpu=8,mem=1Gi", "cpu=,mem=1Gi", "cpu=8,mem=1Gi,fast"} {
		if got, err := parseMachines(text); err == nil || !strings.Contains(err.Error(), "does not describe machines") {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}

func TestManyMovesAreCounted(t *testing.T) {
	site := harbour()
	answer := &skerryv1.WhatIfResponse{Quorum: true, Voters: 3, VotersLeft: 3, Settled: true, Freshness: site.freshness}
	for i := range 10_000 {
		answer.Moves = append(answer.Moves, &skerryv1.Move{Workload: "web", To: fmt.Sprintf("node-%d", i%1000)})
	}
	for range 60 {
		answer.Moves = append(answer.Moves, &skerryv1.Move{Workload: "db", From: "node-1", To: "node-2"})
		answer.Stranded = append(answer.Stranded, &skerryv1.Stranded{Workload: "big", Why: "no node fits"})
	}
	site.foresight = answer
	expect(t, site, "whatif --lose node-1", 0, `
Quorum:  stands, 3 of 3 voters left

Would move:
  WORKLOAD  PLACEMENTS  FROM             TO
  web       10000       -                1000 nodes, 10 each
  db        60          1 node, 60 each  1 node, 60 each

Would not run:
  WORKLOAD  PLACEMENTS  WHY
  big       60          no node fits

60 placements would not run.
`, "")
	answer.Moves = answer.Moves[10_000:]
	r := &run{}
	r.main(t, site, "whatif", "--lose", "node-1")
	wantIn(t, r.out.String(), "db        60          node-1  node-2")
}

func TestWhatIfNamesFlagsNotFields(t *testing.T) {
	for field, flag := range map[string]string{"loseNodes": "--lose", "loseZones": "--lose", "add.cpu": "--add cpu", "add.count": "--add"} {
		err := asFlags(problem.New(problem.Invalid, "", "no").WithField(field))
		if text := err.Error(); !strings.Contains(text, flag) || strings.Contains(text, field) {
			t.Errorf("%s: %s", field, text)
		}
	}
}

func TestEventsAreNoKind(t *testing.T) {
	r := &run{}
	if code := r.main(t, harbour(), "get", "events"); code != 2 || !strings.Contains(r.err.String(), "skerry events shows them") {
		t.Errorf("%d: %s", code, r.err.String())
	}
}
