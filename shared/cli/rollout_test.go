package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (s *fakeSite) History(_ context.Context, r *connect.Request[skerryv1.HistoryRequest]) (*connect.Response[skerryv1.HistoryResponse], error) {
	answer := s.histories[0]
	if len(s.histories) > 1 {
		s.histories = s.histories[1:]
	}
	return connect.NewResponse(answer), s.note(r.Msg)
}

func (s *fakeSite) Steer(_ context.Context, r *connect.Request[skerryv1.SteerRequest]) (*connect.Response[skerryv1.SteerResponse], error) {
	return connect.NewResponse(&skerryv1.SteerResponse{Workload: &skerryv1.Workload{Generation: 4}, Freshness: s.freshness}), s.note(r.Msg)
}

func (s *fakeSite) Plan(_ context.Context, r *connect.Request[skerryv1.PlanRequest]) (*connect.Response[skerryv1.PlanResponse], error) {
	return connect.NewResponse(s.plan), s.note(r.Msg)
}

func revision(generation uint64, state skerryv1.RevisionState, changes ...*skerryv1.FieldChange) *skerryv1.RevisionChange {
	return &skerryv1.RevisionChange{Changes: changes, Revision: &skerryv1.Revision{
		Generation: generation, LastGeneration: generation, State: state, At: ago(time.Hour), By: "spiffe://harbour/operator/mia",
	}}
}

func newImage() *skerryv1.FieldChange {
	return &skerryv1.FieldChange{Field: "container.image", From: "site.local/web:1", To: "site.local/web:2"}
}

func TestHistory(t *testing.T) {
	site := harbour()
	back := revision(4, skerryv1.RevisionState_REVISION_STATE_ROLLING)
	back.Revision.RollbackTo, back.Revision.Automatic, back.Revision.By = 1, true, "coordinator"
	bad := revision(3, skerryv1.RevisionState_REVISION_STATE_FAILED, newImage())
	bad.Revision.Message = "no progress for 10m0s"
	first := revision(1, skerryv1.RevisionState_REVISION_STATE_GOOD)
	first.Revision.LastGeneration = 2
	site.histories = []*skerryv1.HistoryResponse{{Revisions: []*skerryv1.RevisionChange{back, bad, first}, Freshness: site.freshness}}
	expect(t, site, "history web", 0, `
GENERATION  AGE  BY            STATE    CHANGES
4           1h   coordinator   rolling  back to generation 1 by itself
3           1h   operator/mia  failed   no progress for 10m0s; container.image: site.local/web:1 -> site.local/web:2
1-2         1h   operator/mia  good     the first
`, "")
}

func TestARolloutIsFollowedUntilItEnds(t *testing.T) {
	rolling, good := skerryv1.RevisionState_REVISION_STATE_ROLLING, skerryv1.RevisionState_REVISION_STATE_GOOD
	at := func(generation, rollbackTo uint64, state skerryv1.RevisionState, told string) *skerryv1.HistoryResponse {
		one := revision(generation, state)
		one.Revision.RollbackTo = rollbackTo
		return &skerryv1.HistoryResponse{Revisions: []*skerryv1.RevisionChange{one}, Progress: &skerryv1.RolloutProgress{Wanted: 3, Summary: told}}
	}
	failed := revision(2, skerryv1.RevisionState_REVISION_STATE_FAILED)
	failed.Revision.Message = "no progress for 8s: web-4 on node-1: exit code 1"
	back := at(3, 1, good, "good")
	back.Revisions = append(back.Revisions, failed, revision(1, good))
	waits := at(2, 0, rolling, "waits")
	waits.Progress.WaitsForPromotion = true
	for _, test := range []struct {
		name, line string
		seen       []*skerryv1.HistoryResponse
		code       int
		out        string
	}{
		{"until it is good", "rollout status web", []*skerryv1.HistoryResponse{at(2, 0, rolling, "1 of 3"), at(2, 0, rolling, "1 of 3"), at(2, 0, good, "good")}, 0,
			"workload/web: 1 of 3\nworkload/web: good\n"},
		{"until it has gone back", "rollout status web", []*skerryv1.HistoryResponse{at(2, 0, rolling, "1 of 3"), at(3, 1, rolling, "back"), at(3, 1, good, "good")}, 1,
			"workload/web: 1 of 3\nworkload/web: back\nworkload/web: good\n"},
		{"with the reason, when it has gone back between two looks", "rollout status web", []*skerryv1.HistoryResponse{at(2, 0, rolling, "1 of 3"), back}, 1,
			"workload/web: 1 of 3\nworkload/web: generation 2 failed: no progress for 8s: web-4 on node-1: exit code 1\nworkload/web: good\n"},
		{"a rollback is good when that was asked for", "rollout status web", []*skerryv1.HistoryResponse{at(3, 1, rolling, "back"), at(3, 1, good, "good")}, 0,
			"workload/web: back\nworkload/web: good\n"},
		{"not when nobody waits", "rollout status web --no-wait", []*skerryv1.HistoryResponse{at(2, 0, rolling, "1 of 3")}, 9, "workload/web: 1 of 3\n"},
		{"until somebody must act", "rollout status web", []*skerryv1.HistoryResponse{waits}, 9, "workload/web: waits\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := harbour()
			site.histories = test.seen
			expect(t, site, test.line, test.code, test.out, "")
		})
	}
}

func TestARolloutIsSteered(t *testing.T) {
	for line, want := range map[string]*skerryv1.SteerRequest{
		"rollout pause web":            {Action: skerryv1.SteerAction_STEER_ACTION_PAUSE},
		"rollout resume web":           {Action: skerryv1.SteerAction_STEER_ACTION_RESUME},
		"rollout promote web":          {Action: skerryv1.SteerAction_STEER_ACTION_PROMOTE},
		"rollout abort web -p default": {Action: skerryv1.SteerAction_STEER_ACTION_ABORT, Project: "default"},
		"rollback web --to 2":          {Action: skerryv1.SteerAction_STEER_ACTION_ROLL_BACK, Generation: 2},
	} {
		site := harbour()
		r := &run{}
		if code := r.main(t, site, strings.Fields(line)...); code != 0 {
			t.Errorf("%s: exit code %d: %s", line, code, r.err.String())
			continue
		}
		got, _ := site.asked().(*skerryv1.SteerRequest)
		if len(got.GetRequestId()) != 32 {
			t.Errorf("%s: the request ID is %q", line, got.GetRequestId())
		}
		want.Name, want.RequestId = "web", got.GetRequestId()
		wantProto(t, got, want)
		wantIn(t, r.out.String(), "workload/web ", ", generation 4\n")
	}
}

func TestPlan(t *testing.T) {
	site := harbour()
	site.plan = &skerryv1.PlanResponse{
		Settled: true,
		Resources: []*skerryv1.PlannedResource{
			{Kind: "Workload", Name: "web", Outcome: "configured", Replaces: true, Changes: []*skerryv1.FieldChange{newImage(), {Field: "replicas", From: "3", To: "4"}}},
			{Kind: "Workload", Name: "db", Outcome: "unchanged"},
		},
		Moves:    []*skerryv1.Move{{Workload: "web", Placement: "web-1", From: "node-1", To: "node-3"}},
		Stranded: []*skerryv1.Stranded{{Workload: "web", Why: "no node fits: port 8080/tcp is taken on 2 nodes"}},
	}
	expect(t, site, "plan -f "+write(t, "web.yaml", webManifest), 0, `
workload/web would be configured; its placements would be replaced
  container.image: site.local/web:1 -> site.local/web:2
  replicas: 3 -> 4
workload/db is as it should be

Would move:
  WORKLOAD  PLACEMENT  FROM    TO
  web       web-1      node-1  node-3

Would not run:
  WORKLOAD  PLACEMENT  NODE  WHY
  web       -          -     no node fits: port 8080/tcp is taken on 2 nodes
`, "")
}
