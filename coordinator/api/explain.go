package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// explainEvents bounds the events that go with an explanation.
	explainEvents = 20
	// stopped is the reason of the event that says that nothing is left, not why.
	stopped = "PlacementStopped"
)

func (r resources) Explain(ctx context.Context, req *connect.Request[skerryv1.ExplainRequest]) (*connect.Response[skerryv1.ExplainResponse], error) {
	if req.Msg.GetName() == "" {
		return nil, problem.New(problem.Invalid, "", "a name is required").WithField("name")
	}
	view, freshness := r.read(ctx, req.Msg.GetStale())
	kind, name, project := req.Msg.GetKind(), req.Msg.GetName(), projectOr(req.Msg.GetProject(), defaultProject)
	if kind != "" && kind != "Placement" && kind != "Workload" {
		return nil, problem.New(problem.Invalid, "", "only workloads and placements can be explained, not %q", kind).WithField("kind")
	}
	response := &skerryv1.ExplainResponse{Freshness: freshness}
	call := guard.From(ctx)
	if err := call.Ask(access.Read, explained(view, kind, project, name)); err != nil {
		return nil, err
	}
	placement, workload := view.Placement(project, name), view.Workload(project, name)
	switch {
	case placement != nil && kind != "Workload":
		response.Subject = "Placement/" + name
		response.Summary = placementSummary(view, placement)
		response.Placements = []*skerryv1.Placement{withVerdicts(view, placement)}
	case workload != nil && kind != "Placement":
		response.Subject = "Workload/" + name
		response.Placements = readable(ctx, view.PlacementsOf(project, name))
		response.Summary = workloadSummary(workload, response.Placements)
		if !view.Rollout(project, name).Done() {
			response.Summary += "; " + progress(view, workload).GetSummary()
		}
	default:
		return nil, gone(view, project, name, r.absent(req.Msg.GetStale(), freshness, orKind(kind), name, project))
	}
	response.Events = eventsAbout(view, project, response)
	return connect.NewResponse(response), nil
}

// explained is what a question is about: a placement if there is one of that
// name, else a workload.
func explained(view *state.View, kind, project, name string) access.Object {
	if kind == "" && view.Placement(project, name) != nil {
		kind = "Placement"
	}
	return present(view, orKind(kind), project, name)
}

// withVerdicts gives a placement that was decided on together with others the
// verdicts of the one that has them.
func withVerdicts(view *state.View, p *skerryv1.Placement) *skerryv1.Placement {
	other := view.Placement(p.GetProject(), p.GetDecision().GetExplainedBy())
	if other.GetWorkload() != p.GetWorkload() || other.GetDecision().GetIndex() != p.GetDecision().GetIndex() {
		return p
	}
	p = proto.CloneOf(p)
	p.Decision.Verdicts, p.Decision.Omitted = other.GetDecision().GetVerdicts(), other.GetDecision().GetOmitted()
	return p
}

func orKind(kind string) string {
	if kind == "" {
		return "Workload"
	}
	return kind
}

func placementSummary(view *state.View, p *skerryv1.Placement) string {
	switch {
	case p.GetEnded() != nil:
		return fmt.Sprintf("it was an attempt of run %d: %s", p.GetRun(), p.GetStatus().GetMessage())
	case p.GetLostSince() != nil && p.GetReplacedBy() != "":
		return fmt.Sprintf("its node %s is lost; %s replaces it", p.GetNode(), p.GetReplacedBy())
	case p.GetLostSince() != nil && state.IsStay(p.GetSpec()):
		return fmt.Sprintf("its node %s is lost; it stays bound to it and is not started elsewhere: %s", p.GetNode(), forStaying(view.Node(p.GetNode()), p))
	case p.GetLapsed() != nil:
		return fmt.Sprintf("its node %s is lost, and its lease has ended: it runs nowhere any more", p.GetNode())
	case p.GetLostSince() != nil && state.MayRun(p):
		return fmt.Sprintf("its node %s is lost and may run it %s", p.GetNode(), untilReplaced(view, p))
	case p.GetLostSince() != nil:
		return fmt.Sprintf("its node %s is lost", p.GetNode())
	case p.GetNode() == "" && len(p.GetSpec().GetAfter()) > 0:
		return p.GetDecision().GetSummary()
	case p.GetNode() == "":
		return "no node takes it: " + p.GetDecision().GetSummary()
	case p.GetStatus().GetMessage() != "":
		return fmt.Sprintf("on %s: %s", p.GetNode(), p.GetStatus().GetMessage())
	default:
		return fmt.Sprintf("on %s: %s", p.GetNode(), p.GetDecision().GetSummary())
	}
}

func workloadSummary(w *skerryv1.Workload, placements []*skerryv1.Placement) string {
	if manifest.IsJob(w) {
		return manifest.Progress(w)
	}
	healthy, pending, lost := 0, 0, 0
	for _, p := range placements {
		switch {
		case p.GetLostSince() != nil:
			lost++
		case p.GetNode() == "":
			pending++
		case isHealthy(p):
			healthy++
		}
	}
	return fmt.Sprintf("%d of %d placements are healthy, %d wait for a node, %d are on lost nodes",
		healthy, manifest.Wanted(w), pending, lost)
}

// isHealthy: it runs, and its health check, if it has one, succeeds.
func isHealthy(p *skerryv1.Placement) bool {
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN &&
		p.GetLostSince() == nil &&
		p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_RUNNING &&
		(p.GetSpec().GetHealth() == nil || p.GetStatus().GetReadiness() == skerryv1.Readiness_READINESS_HEALTHY)
}

// eventsAbout are the last events of the subject and its placements, and those of
// placements that had to make room for others: these are gone.
func eventsAbout(view *state.View, project string, response *skerryv1.ExplainResponse) []*skerryv1.Event {
	workload, isWorkload := strings.CutPrefix(response.GetSubject(), "Workload/")
	about := map[string]bool{response.GetSubject(): true}
	for _, p := range response.GetPlacements() {
		about["Placement/"+p.GetName()] = true
	}
	var events []*skerryv1.Event
	for _, event := range view.Events(0, 0) {
		evicted := isWorkload && event.GetReason() == state.PlacementEvicted && state.IsOf(event.GetName(), workload)
		if event.GetProject() == project && (about[event.GetKind()+"/"+event.GetName()] || evicted) {
			events = append(events, event)
		}
	}
	return events[max(0, len(events)-explainEvents):]
}

// gone tells of a placement that is not there any more why it ended.
func gone(view *state.View, project, name string, notFound error) error {
	for _, event := range slices.Backward(view.Events(0, 0)) {
		if event.GetProject() == project && event.GetKind() == "Placement" && event.GetName() == name && event.GetReason() != stopped {
			return problem.New(problem.NotFound, "Placement/"+name, "it is gone; the last that happened to it, at %s: %s: %s",
				event.GetAt().AsTime().UTC().Format("2006-01-02 15:04:05 MST"), event.GetReason(), event.GetMessage()).
				WithHint("skerry why WORKLOAD tells of those that took its place")
		}
	}
	return notFound
}

// forStaying is what to do about a placement that stays on a lost node. One that
// was evicted does not come back.
func forStaying(node *skerryv1.Node, p *skerryv1.Placement) string {
	if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return fmt.Sprintf("the node was evicted; once the machine is off for good: skerry node evict %s --off", p.GetNode())
	}
	return "bring the node back"
}
