package api

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// How long a drain may take.
const (
	defaultDeadline = 10 * time.Minute
	minDeadline     = time.Second
	maxDeadline     = 24 * time.Hour
)

// nodeService implements skerry.v1.NodeService on the coordinator.
type nodeService struct{ *Server }

func (n nodeService) ChangeDuty(ctx context.Context, req *connect.Request[skerryv1.ChangeDutyRequest]) (*connect.Response[skerryv1.ChangeDutyResponse], error) {
	change := &sitev1.ChangeDuty{Node: req.Msg.GetNode(), Duty: req.Msg.GetDuty(), Reason: req.Msg.GetReason()}
	response := &skerryv1.ChangeDutyResponse{}
	if drains(change.GetDuty()) {
		deadline, err := deadlineOf(req.Msg)
		if err != nil {
			return nil, err
		}
		// What can never move is told now, not at the deadline.
		if response.Stuck, response.Pausing, err = n.foreseeDrain(ctx, change); err != nil {
			return nil, err
		}
		response.OnlyQuorum = n.mayTakeQuorum(change)
		change.Deadline = timestamppb.New(n.SiteTime.Read().Time.Add(deadline))
	}
	outcome, err := n.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_ChangeDuty{ChangeDuty: change}})
	if err != nil {
		return nil, err
	}
	response.Node, response.Freshness = outcome.GetNode(), n.freshness(n.Store.View(), true)
	return connect.NewResponse(response), nil
}

func drains(duty skerryv1.Duty) bool {
	return duty == skerryv1.Duty_DUTY_DRAINED || duty == skerryv1.Duty_DUTY_MAINTENANCE
}

func deadlineOf(msg *skerryv1.ChangeDutyRequest) (time.Duration, error) {
	if msg.GetDeadline() == nil {
		return defaultDeadline, nil
	}
	deadline := msg.GetDeadline().AsDuration()
	if deadline < minDeadline || deadline > maxDeadline {
		return 0, problem.New(problem.Invalid, "Node/"+msg.GetNode(), "%s is not between %s and %s", deadline, minDeadline, maxDeadline).WithField("deadline")
	}
	return deadline, nil
}

// foreseeDrain tells what could not move from the node as things are, and what
// would not run meanwhile.
func (n nodeService) foreseeDrain(ctx context.Context, change *sitev1.ChangeDuty) (stuck, pausing []*skerryv1.Stranded, err error) {
	question := &skerryv1.WhatIfRequest{DrainNodes: []string{change.GetNode()}}
	if change.GetDuty() == skerryv1.Duty_DUTY_MAINTENANCE {
		question = &skerryv1.WhatIfRequest{MaintainNodes: []string{change.GetNode()}}
	}
	answer, err := n.foresee(ctx, question, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range answer.GetStranded() {
		if s.GetNode() == change.GetNode() {
			stuck = append(stuck, s)
		}
	}
	return stuck, answer.GetPausing(), nil
}

// mayTakeQuorum tells whether there would be no quorum while the node is off.
func (n nodeService) mayTakeQuorum(change *sitev1.ChangeDuty) bool {
	view := n.Store.View()
	if change.GetDuty() != skerryv1.Duty_DUTY_MAINTENANCE || view.Node(change.GetNode()).GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER {
		return false
	}
	up, all := votersWithout(view, change.GetNode())
	return 2*up <= all
}
