package api

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	"skerry.dev/coordinator/whatif"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	defaultMoves = 100
	// maxNamed workloads in one request.
	maxNamed          = 256
	rebalanceDeadline = time.Hour
)

// rebalances implements skerry.v1.RebalanceService.
type rebalances struct{ *Server }

func (r rebalances) Drift(ctx context.Context, req *connect.Request[skerryv1.DriftRequest]) (*connect.Response[skerryv1.DriftResponse], error) {
	view, freshness := r.read(ctx, req.Msg.GetStale())
	found, err := r.drift(ctx, view, driftAsked{req.Msg.GetProject(), req.Msg.GetWorkloads(), req.Msg.GetMaxMoves()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.DriftResponse{
		Moves: found.moves, Held: found.held, More: found.more, Last: view.Rebalance(), Freshness: freshness,
	}), nil
}

func (r rebalances) Rebalance(ctx context.Context, req *connect.Request[skerryv1.RebalanceRequest]) (*connect.Response[skerryv1.RebalanceResponse], error) {
	msg := req.Msg
	deadline := rebalanceDeadline
	if msg.GetDeadline() != nil {
		deadline = msg.GetDeadline().AsDuration()
	}
	if deadline < minDeadline || deadline > maxDeadline {
		return nil, problem.New(problem.Invalid, "site", "%s is not between %s and %s", deadline, minDeadline, maxDeadline).WithField("deadline")
	}
	found, err := r.drift(ctx, r.Store.View(), driftAsked{msg.GetProject(), msg.GetWorkloads(), msg.GetMaxMoves()})
	if err != nil {
		return nil, err
	}
	response := &skerryv1.RebalanceResponse{Held: found.held, More: found.more}
	if len(found.moves) > 0 {
		change := &sitev1.StartRebalance{Moves: found.moves, Deadline: timestamppb.New(r.SiteTime.Read().Time.Add(deadline))}
		if _, err := r.commit(ctx, msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_StartRebalance{StartRebalance: change}}); err != nil {
			return nil, err
		}
	}
	view := r.Store.View()
	response.Freshness = r.freshness(view, true)
	if len(found.moves) > 0 {
		response.Rebalance = view.Rebalance()
	}
	return connect.NewResponse(response), nil
}

func (r rebalances) LastRebalance(ctx context.Context, req *connect.Request[skerryv1.LastRebalanceRequest]) (*connect.Response[skerryv1.LastRebalanceResponse], error) {
	view, freshness := r.read(ctx, req.Msg.GetStale())
	return connect.NewResponse(&skerryv1.LastRebalanceResponse{Rebalance: view.Rebalance(), Freshness: freshness}), nil
}

func (r rebalances) StopRebalance(ctx context.Context, req *connect.Request[skerryv1.StopRebalanceRequest]) (*connect.Response[skerryv1.StopRebalanceResponse], error) {
	if _, err := r.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_StopRebalance{StopRebalance: &sitev1.StopRebalance{}}}); err != nil {
		return nil, err
	}
	view := r.Store.View()
	return connect.NewResponse(&skerryv1.StopRebalanceResponse{Rebalance: view.Rebalance(), Freshness: r.freshness(view, true)}), nil
}

// driftAsked is of what drift is asked for, and how much of it.
type driftAsked struct {
	project   string
	workloads []string
	most      uint32
}

type driftFound struct {
	moves, held []*skerryv1.RebalanceMove
	more        bool
}

// drift finds what a rebalance would move, when not too many others are thinking.
func (s *Server) drift(ctx context.Context, view *state.View, asked driftAsked) (driftFound, error) {
	if asked.most == 0 {
		asked.most = defaultMoves
	}
	switch {
	case asked.most > state.MaxMoves:
		return driftFound{}, problem.New(problem.Invalid, "", "%d moves, at most %d are made in one rebalance", asked.most, state.MaxMoves).WithField("maxMoves")
	case len(asked.workloads) > maxNamed:
		return driftFound{}, problem.New(problem.Invalid, "", "%d workloads, at most %d can be named", len(asked.workloads), maxNamed).WithField("workloads")
	}
	if len(asked.workloads) > 0 {
		asked.project = projectOr(asked.project, defaultProject)
	}
	for _, name := range asked.workloads {
		w := view.Workload(asked.project, name)
		if w == nil {
			return driftFound{}, notFound("Workload", name, asked.project)
		}
	}
	if err := s.think(ctx); err != nil {
		return driftFound{}, err
	}
	defer s.thought()
	var found driftFound
	found.moves, found.held = whatif.Drift(view, func(w *skerryv1.Workload) bool {
		return (asked.project == "" || w.GetProject() == asked.project) && (len(asked.workloads) == 0 || slices.Contains(asked.workloads, w.GetName()))
	})
	if found.more = len(found.moves) > int(asked.most); found.more {
		found.moves = found.moves[:asked.most]
	}
	found.held = found.held[:min(len(found.held), state.MaxMoves)]
	return found, nil
}
