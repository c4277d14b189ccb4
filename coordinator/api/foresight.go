package api

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/whatif"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxLost nodes and zones in one question.
	maxLost = 1000
	// maxAsking questions are thought through at once: each may take a core for
	// seconds, and the coordinator has other work.
	maxAsking = 2
)

// foresees implements skerry.v1.ForesightService.
type foresees struct{ *Server }

func (f foresees) WhatIf(ctx context.Context, req *connect.Request[skerryv1.WhatIfRequest]) (*connect.Response[skerryv1.WhatIfResponse], error) {
	msg := req.Msg
	drains := len(msg.GetDrainNodes()) + len(msg.GetMaintainNodes())
	if len(msg.GetLoseNodes())+len(msg.GetLoseZones())+drains+len(msg.GetAdd())+len(msg.GetApply()) == 0 {
		return nil, problem.New(problem.Invalid, "", "there is nothing to assume").
			WithHint("name what is lost, added or applied: skerry whatif --lose node-3")
	}
	if len(msg.GetLoseNodes())+len(msg.GetLoseZones())+drains > maxLost {
		return nil, problem.New(problem.Invalid, "", "more than %d losses in one question", maxLost).WithField("loseNodes")
	}
	var change *sitev1.ApplyResources
	if len(msg.GetApply()) > 0 {
		admitted, err := resources(f).admit(msg.GetApply())
		if err != nil {
			return nil, err
		}
		assumed, err := f.assumeAll(admitted)
		if err != nil {
			return nil, err
		}
		change = &sitev1.ApplyResources{Resources: admitted, Secrets: assumed}
	}
	_, freshness := f.read(ctx, msg.GetStale())
	answer, err := f.foresee(ctx, msg, change)
	if err != nil {
		return nil, err
	}
	answer.Freshness = freshness
	return connect.NewResponse(answer), nil
}

// foresee an answer when not too many others are thinking.
func (s *Server) foresee(ctx context.Context, question *skerryv1.WhatIfRequest, change *sitev1.ApplyResources) (*skerryv1.WhatIfResponse, error) {
	if err := s.think(ctx); err != nil {
		return nil, err
	}
	defer s.thought()
	return whatif.Ask(s.Store, question, change)
}

// think waits until not too many others do; thought lets the next one.
func (s *Server) think(ctx context.Context) error {
	select {
	case s.foresight.asking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return problem.New(problem.Exhausted, "", "others are asking what would be, %d at once", maxAsking).WithHint("try again")
	}
}

func (s *Server) thought() { <-s.foresight.asking }
