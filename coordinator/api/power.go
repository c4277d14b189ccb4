package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// knownWithin is how long a stop waits for voters that have not reported yet.
	knownWithin, knownEvery = 3 * time.Second, 20 * time.Millisecond
)

// power implements skerry.v1.PowerService on the coordinator.
type power struct{ *Server }

// StopSite ends all that runs, in order, or says what that would be.
func (p power) StopSite(ctx context.Context, req *connect.Request[skerryv1.StopSiteRequest]) (*connect.Response[skerryv1.StopSiteResponse], error) {
	msg := req.Msg
	deadline := defaultDeadline
	if msg.GetDeadline() != nil {
		deadline = msg.GetDeadline().AsDuration()
	}
	if deadline < minDeadline || deadline > maxDeadline {
		return nil, problem.New(problem.Invalid, "site", "%s is not between %s and %s", deadline, minDeadline, maxDeadline).WithField("deadline")
	}
	response := &skerryv1.StopSiteResponse{Groups: stopGroups(p.Store.View())}
	if !msg.GetDryRun() {
		known, err := p.known(ctx)
		if err != nil {
			return nil, err
		}
		change := &sitev1.StopSite{Reason: msg.GetReason(), Deadline: timestamppb.New(p.SiteTime.Read().Time.Add(deadline)), Known: known}
		if _, err := p.commit(ctx, msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_StopSite{StopSite: change}}); err != nil {
			return nil, err
		}
	}
	view := p.Store.View()
	response.Stop, response.Freshness = view.Stop(), p.freshness(view, true)
	return connect.NewResponse(response), nil
}

// known are the nodes that have reported to this coordinator; it waits a while for
// the voters. A machine that was switched on a moment ago would look later as if it
// had been switched off since the stop, and the site would start by itself.
func (p power) known(ctx context.Context) ([]string, error) {
	for end := p.Clock.Elapsed() + knownWithin; ; {
		known := p.Reported()
		var missing []string
		here := false // one of them, which will report
		voters := p.Store.View().Voters()
		for _, node := range voters {
			if !slices.Contains(known, node.GetName()) {
				missing = append(missing, node.GetName())
				here = here || node.GetState() == skerryv1.NodeState_NODE_STATE_READY
			}
		}
		late := p.Clock.Elapsed() >= end
		switch {
		case (late || !here) && 2*len(missing) < len(voters):
			return known, nil
		case late:
			return nil, problem.New(problem.Unavailable, "site", "of %s nothing was heard since a coordinator was elected", strings.Join(missing, ", ")).
				WithHint("nothing was changed; try again in a moment")
		}
		if err := env.Sleep(ctx, p.Clock, knownEvery); err != nil {
			return nil, err
		}
	}
}

// stopGroups is what still runs, in the order in which it stops.
func stopGroups(view *state.View) []*skerryv1.StopGroup {
	ready := func(node string) bool { return view.Node(node).GetState() == skerryv1.NodeState_NODE_STATE_READY }
	var groups []*skerryv1.StopGroup
	for _, all := range state.StopOrder(view.Workloads(), state.StillRuns(view.Placements(), ready)) {
		group, seen := &skerryv1.StopGroup{Placements: uint32(len(all))}, map[string]bool{}
		for _, p := range all {
			if name := p.GetProject() + "/" + p.GetWorkload(); !seen[name] {
				seen[name] = true
				group.Workloads = append(group.Workloads, name)
			}
		}
		groups = append(groups, group)
	}
	return groups
}

// StartSite lets everything start again.
func (p power) StartSite(ctx context.Context, req *connect.Request[skerryv1.StartSiteRequest]) (*connect.Response[skerryv1.StartSiteResponse], error) {
	response := &skerryv1.StartSiteResponse{Was: p.Store.View().Stop()}
	if _, err := p.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_StartSite{StartSite: &sitev1.StartSite{}}}); err != nil {
		return nil, err
	}
	response.Freshness = p.freshness(p.Store.View(), true)
	return connect.NewResponse(response), nil
}

// stopProblems says of a site that is stopped how to start it.
func stopProblems(stop *skerryv1.SiteStop) []string {
	const starts = "; it starts when its machines are switched on again, or at once with: skerry site start"
	switch {
	case stop == nil:
		return nil
	case stop.GetStopped() == nil:
		return []string{"the site is being stopped since " + stop.GetSince().AsTime().Format(stamp) + ", by " + stop.GetBy() + because(stop) + starts}
	default:
		return []string{"the site is stopped since " + stop.GetStopped().AsTime().Format(stamp) + ", by " + stop.GetBy() + because(stop) + ": nothing runs" + starts}
	}
}

const stamp = "2006-01-02 15:04:05 MST"

func because(stop *skerryv1.SiteStop) string {
	if stop.GetReason() == "" {
		return ""
	}
	return " (" + stop.GetReason() + ")"
}
