package api

import (
	"fmt"
	"strings"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// maxProblems in one status; the rest is counted.
const maxProblems = 20

// findProblems says what is wrong now, worst first, each with what to do.
func findProblems(view *state.View, placements []*skerryv1.Placement, status *skerryv1.StatusResponse, waiting string) []string {
	var found []string
	nodes := status.GetNodes()
	if !status.GetFreshness().GetQuorum() {
		found = append(found, quorumProblem(status))
	}
	if waiting != "" {
		found = append(found, waiting)
	}
	for _, node := range nodes {
		if view.Stop().GetStopped() != nil && node.GetState() == skerryv1.NodeState_NODE_STATE_LOST {
			continue // it was switched off
		}
		found = append(found, nodeProblems(node)...)
	}
	for _, w := range view.Workloads() {
		if run := manifest.LastRun(w); run.GetState() == skerryv1.RunState_RUN_STATE_FAILED {
			found = append(found, fmt.Sprintf("job %s: %s: skerry describe workload %s -p %s", w.GetName(), manifest.Progress(w), w.GetName(), w.GetProject()))
		}
	}
	for _, p := range placements {
		if view.Stop() != nil && p.GetNode() == "" {
			continue // it waits for the start
		}
		if text := placementProblem(view, nodes, p); text != "" {
			found = append(found, text)
		}
	}
	if len(found) > maxProblems {
		rest := len(found) - maxProblems
		found = append(found[:maxProblems], fmt.Sprintf("and %d more: skerry get placements", rest))
	}
	return found
}

func quorumProblem(status *skerryv1.StatusResponse) string {
	text := "no quorum: nothing can be changed; workloads go on running"
	if missing := status.GetMissingVoters(); len(missing) > 0 {
		text += "; voters not heard of: " + strings.Join(missing, ", ")
	}
	return text + "; bring a majority of the voters back into reach of each other"
}

func nodeProblems(node *skerryv1.Node) []string {
	var found []string
	if node.GetState() == skerryv1.NodeState_NODE_STATE_LOST && node.GetDuty().GetDuty() != skerryv1.Duty_DUTY_MAINTENANCE {
		found = append(found, fmt.Sprintf("node %s is lost since %s: check its power and its network",
			node.GetName(), node.GetStateSince().AsTime().Format("2006-01-02 15:04:05 MST")))
	}
	for _, condition := range node.GetConditions() {
		found = append(found, fmt.Sprintf("node %s: %s: %s", node.GetName(), condition.GetType(), condition.GetMessage()))
	}
	return found
}

func placementProblem(view *state.View, nodes []*skerryv1.Node, p *skerryv1.Placement) string {
	if p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || p.GetEnded() != nil {
		return ""
	}
	status := p.GetStatus()
	switch {
	case p.GetLostSince() != nil && p.GetSpec().GetPerNode():
		return "" // its node is lost, and that is all there is to say
	case p.GetLostSince() != nil && state.IsStay(p.GetSpec()):
		return fmt.Sprintf("placement %s stays on %s, which is lost, and is not started elsewhere: %s",
			p.GetName(), p.GetNode(), forStaying(nodeOf(nodes, p), p))
	case p.GetLostSince() != nil && state.MayRun(p):
		return fmt.Sprintf("placement %s may run on %s, which is lost, %s", p.GetName(), p.GetNode(), untilReplaced(view, p))
	case p.GetNode() == "" && inMaintenance(nodes, state.PinnedTo(p.GetSpec())):
		return "" // it was stopped for that, and starts when its node returns
	case p.GetNode() == "" && p.GetDecision() != nil:
		return fmt.Sprintf("placement %s has no node: %s: skerry why %s", p.GetName(), p.GetDecision().GetSummary(), p.GetName())
	case status.GetPhase() == skerryv1.Phase_PHASE_FAILED, status.GetPhase() == skerryv1.Phase_PHASE_BACKOFF:
		return fmt.Sprintf("placement %s on %s does not run: %s: skerry logs %s", p.GetName(), p.GetNode(), status.GetMessage(), p.GetName())
	case status.GetReadiness() == skerryv1.Readiness_READINESS_UNHEALTHY:
		return fmt.Sprintf("placement %s on %s is unhealthy: %s: skerry logs %s", p.GetName(), p.GetNode(), status.GetMessage(), p.GetName())
	default:
		return ""
	}
}

func inMaintenance(nodes []*skerryv1.Node, name string) bool {
	return named(nodes, name).GetDuty().GetDuty() == skerryv1.Duty_DUTY_MAINTENANCE
}

// nodeOf a placement, nil when it has none.
func nodeOf(nodes []*skerryv1.Node, p *skerryv1.Placement) *skerryv1.Node {
	return named(nodes, p.GetNode())
}

func named(nodes []*skerryv1.Node, name string) *skerryv1.Node {
	for _, node := range nodes {
		if node.GetName() == name {
			return node
		}
	}
	return nil
}
