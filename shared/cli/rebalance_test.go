package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func (s *fakeSite) Drift(_ context.Context, r *connect.Request[skerryv1.DriftRequest]) (*connect.Response[skerryv1.DriftResponse], error) {
	s.drift.Freshness = s.freshness
	return connect.NewResponse(s.drift), s.note(r.Msg)
}

func (s *fakeSite) Rebalance(_ context.Context, r *connect.Request[skerryv1.RebalanceRequest]) (*connect.Response[skerryv1.RebalanceResponse], error) {
	response := &skerryv1.RebalanceResponse{Held: s.drift.GetHeld(), More: s.drift.GetMore(), Freshness: s.freshness}
	if len(s.rebalances) > 0 {
		response.Rebalance = s.rebalances[0]
	}
	return connect.NewResponse(response), s.note(r.Msg)
}

func (s *fakeSite) LastRebalance(context.Context, *connect.Request[skerryv1.LastRebalanceRequest]) (*connect.Response[skerryv1.LastRebalanceResponse], error) {
	if s.look != nil {
		s.look()
	}
	r := s.rebalances[0]
	if len(s.rebalances) > 1 {
		s.rebalances = s.rebalances[1:]
	}
	return connect.NewResponse(&skerryv1.LastRebalanceResponse{Rebalance: r, Freshness: s.freshness}), nil
}

func (s *fakeSite) StopRebalance(_ context.Context, r *connect.Request[skerryv1.StopRebalanceRequest]) (*connect.Response[skerryv1.StopRebalanceResponse], error) {
	response := &skerryv1.StopRebalanceResponse{Freshness: s.freshness}
	if len(s.rebalances) > 0 {
		// A look that was given up may still be on its way out.
		stopping := proto.CloneOf(s.rebalances[0])
		stopping.Stopping = true
		response.Rebalance = stopping
	}
	return connect.NewResponse(response), s.note(r.Msg)
}

func (s *fakeSite) StartRun(_ context.Context, r *connect.Request[skerryv1.StartRunRequest]) (*connect.Response[skerryv1.StartRunResponse], error) {
	return connect.NewResponse(&skerryv1.StartRunResponse{Run: 7, Freshness: s.freshness}), s.note(r.Msg)
}

const (
	unspecified = skerryv1.RebalanceState_REBALANCE_STATE_UNSPECIFIED
	begun       = skerryv1.RebalanceState_REBALANCE_STATE_MOVING
	done        = skerryv1.RebalanceState_REBALANCE_STATE_MOVED
	leftThere   = skerryv1.RebalanceState_REBALANCE_STATE_LEFT
)

// rebalanced is harbour with a rebalance that moves web-1 and web-3, as it is
// look after look.
func rebalanced(states ...[2]skerryv1.RebalanceState) *fakeSite {
	site := harbour()
	site.drift = &skerryv1.DriftResponse{}
	for _, s := range states {
		r := &skerryv1.Rebalance{By: "spiffe://harbour/operator/mia", Started: ago(0), Moves: []*skerryv1.RebalanceMove{
			{Workload: "web", Placement: "web-1", From: "node-1", To: "node-2", Why: "spread over zone: 2 of 3 are in a, 0 in b", State: s[0]},
			{Workload: "web", Placement: "web-3", From: "node-1", To: "node-3", Why: "label disk is hdd, not ssd", State: s[1]},
		}}
		if s[0] >= done && s[1] >= done {
			r.Ended, r.Result = ago(0), "2 moved"
		}
		if s[1] == leftThere {
			r.Moves[1].Note, r.Result = "it is not healthy", "1 moved, 1 left where they are, such as web-3: it is not healthy"
		}
		site.rebalances = append(site.rebalances, r)
	}
	return site
}

func TestARebalanceTellsHowItGoesOn(t *testing.T) {
	expect(t, rebalanced([2]skerryv1.RebalanceState{}, [2]skerryv1.RebalanceState{begun, unspecified}, [2]skerryv1.RebalanceState{done, begun}, [2]skerryv1.RebalanceState{done, done}),
		"rebalance", 0, `
2 placements to move
web-1 on node-1 moves to node-2
web-1 has moved, 1 of 2 are done
web-3 on node-1 moves to node-3
web-3 has moved, 2 of 2 are done
the rebalance is over: 2 moved
`, "")
	expect(t, rebalanced([2]skerryv1.RebalanceState{}, [2]skerryv1.RebalanceState{done, leftThere}), "rebalance", 4, `
2 placements to move
web-1 has moved, 1 of 2 are done
web-3 is left on node-1: it is not healthy
`, `
skerry: site: the rebalance is over: 1 moved, 1 left where they are, such as web-3: it is not healthy
  hint: skerry drift shows what would move now
`)
}

func TestWhoWatchesARebalanceDoesNotFollowAnother(t *testing.T) {
	site := rebalanced([2]skerryv1.RebalanceState{}, [2]skerryv1.RebalanceState{begun, unspecified})
	site.rebalances[1].Started, site.rebalances[1].By = ago(-time.Minute), "spiffe://harbour/operator/kim"
	r := &run{ctx: context.Background()}
	if code := r.main(t, site, "rebalance"); code == 0 {
		t.Error("it succeeded")
	}
	wantIn(t, r.err.String(), "the rebalance is over, and operator/kim has begun another one since")
}

func TestARebalanceThatIsEndedStops(t *testing.T) {
	site := rebalanced([2]skerryv1.RebalanceState{begun, unspecified})
	ctx, end := context.WithCancel(context.Background())
	site.look = end
	r := &run{ctx: ctx}
	if code := r.main(t, site, "rebalance"); code == 0 {
		t.Error("it succeeded")
	}
	if _, stopped := site.asked().(*skerryv1.StopRebalanceRequest); !stopped {
		t.Errorf("asked last: %v", site.asked())
	}
	wantIn(t, r.out.String(), "nothing more begins to move; what is on its way gets there: 1 placement")
}

func TestDriftSaysWhatWouldMoveAndWhy(t *testing.T) {
	site := rebalanced()
	site.drift = &skerryv1.DriftResponse{
		Moves: []*skerryv1.RebalanceMove{{Workload: "web", Placement: "web-3", From: "node-1", To: "node-3", Why: "label disk is hdd, not ssd"}},
		Held:  []*skerryv1.RebalanceMove{{Workload: "db", Placement: "db-1", From: "node-1", Why: "label disk is hdd, not ssd; it stays on its node (partition.mode: stay)"}},
		More:  true,
	}
	const want = `
WORKLOAD  PLACEMENT  FROM    TO      WHY
web       web-3      node-1  node-3  label disk is hdd, not ssd
and more

Where they must not be, and not moved:
  WORKLOAD  PLACEMENT  NODE    WHY
  db        db-1       node-1  label disk is hdd, not ssd; it stays on its node (partition.mode: stay)
`
	expect(t, site, "drift", 0, want, "")
	expect(t, site, "rebalance --dry-run web -p shop --max-moves 3", 0, want, "")
	if got := site.asked().(*skerryv1.DriftRequest); got.GetMaxMoves() != 3 || got.GetProject() != "shop" || strings.Join(got.GetWorkloads(), " ") != "web" {
		t.Errorf("asked %v", got)
	}
	site.drift = &skerryv1.DriftResponse{}
	expect(t, site, "drift", 0, "\nthere is nothing to move: what may move is where it would be placed now\n", "")
	expect(t, site, "rebalance", 0, "\nthere is nothing to move: what may move is where it would be placed now\n", "")
	expect(t, site, "rebalance --stop", 0, "\nno rebalance is under way\n", "")
}

func TestRebalancesThatMakeNoSense(t *testing.T) {
	for _, line := range []string{"rebalance --max-moves 0", "rebalance --stop web", "rebalance --stop --dry-run", "rebalance --max-moves -1", "drift --max-moves x"} {
		r := &run{}
		if code := r.main(t, rebalanced(), strings.Fields(line)...); code != 2 {
			t.Errorf("skerry %s: exit code %d\n%s", line, code, r.err.String())
		}
	}
}

func TestARunIsStartedByHand(t *testing.T) {
	site := rebalanced()
	expect(t, site, "run backup -p shop", 0, "\nworkload/backup: run 7 has begun; skerry describe workload backup -p shop shows how far it is\n", "")
	if got := site.asked().(*skerryv1.StartRunRequest); got.GetName() != "backup" || got.GetProject() != "shop" || got.GetRequestId() == "" {
		t.Errorf("asked %v", got)
	}
	site.refuse = problem.New(problem.Conflict, "Workload/web", "it is no scheduled job: it has 3 replicas")
	expect(t, site, "run web", 4, "", "skerry: Workload/web: it is no scheduled job: it has 3 replicas\n")
}
