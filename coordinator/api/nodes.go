package api

import (
	"context"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
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

// checkLabels refuses what no condition of a manifest could name.
func checkLabels(about, field string, labels map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if err := manifest.CheckLabel(name, labels[name]); err != nil {
			return problem.New(problem.Invalid, about, "%.200q: %w", name+"="+labels[name], err).WithField(field)
		}
	}
	return nil
}

// RelabelNode changes labels and zone of a node.
func (n nodeService) RelabelNode(ctx context.Context, req *connect.Request[skerryv1.RelabelNodeRequest]) (*connect.Response[skerryv1.RelabelNodeResponse], error) {
	msg := req.Msg
	if len(msg.GetSet())+len(msg.GetRemove()) == 0 && msg.GetZone() == "" {
		return nil, problem.New(problem.Invalid, "Node/"+msg.GetNode(), "there is nothing to change").
			WithHint("skerry node label %s disk=ssd old- --zone rack-b", msg.GetNode())
	}
	if err := checkLabels("Node/"+msg.GetNode(), "set", msg.GetSet()); err != nil {
		return nil, err
	}
	outcome, err := n.commit(ctx, msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_RelabelNode{
		RelabelNode: &sitev1.RelabelNode{Node: msg.GetNode(), Set: msg.GetSet(), Remove: msg.GetRemove(), Zone: msg.GetZone()},
	}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.RelabelNodeResponse{Node: outcome.GetNode(), Freshness: n.freshness(n.Store.View(), true)}), nil
}

// ConfirmOff takes an operator's word that a machine is off.
func (n nodeService) ConfirmOff(ctx context.Context, req *connect.Request[skerryv1.ConfirmOffRequest]) (*connect.Response[skerryv1.ConfirmOffResponse], error) {
	response := &skerryv1.ConfirmOffResponse{}
	for _, p := range n.Store.View().PlacementsOn(req.Msg.GetNode()) {
		if state.IsStay(p.GetSpec()) || state.MayRun(p) {
			response.Freed = append(response.Freed, p.GetName())
		}
	}
	_, err := n.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_ConfirmOff{
		ConfirmOff: &sitev1.ConfirmOff{Node: req.Msg.GetNode()},
	}})
	if err != nil {
		return nil, err
	}
	response.Freshness = n.freshness(n.Store.View(), true)
	return connect.NewResponse(response), nil
}
