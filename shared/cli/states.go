package cli

import (
	"fmt"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// placementState is one word for where a placement stands.
func placementState(p *skerryv1.Placement) string {
	switch {
	case p.GetEnded() != nil && p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_STOPPED:
		return "done"
	case p.GetEnded() != nil:
		return "failed"
	case p.GetLostSince() != nil:
		return "lost"
	case p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP:
		return "stopping"
	case p.GetNode() == "":
		return "pending"
	}
	switch p.GetStatus().GetPhase() {
	case skerryv1.Phase_PHASE_PREPARING:
		return "preparing"
	case skerryv1.Phase_PHASE_RUNNING:
		return runningState(p)
	case skerryv1.Phase_PHASE_BACKOFF:
		return "restarting"
	case skerryv1.Phase_PHASE_STOPPING:
		return "stopping"
	case skerryv1.Phase_PHASE_STOPPED:
		return "stopped"
	case skerryv1.Phase_PHASE_FAILED:
		return "failed"
	default:
		return "assigned"
	}
}

func runningState(p *skerryv1.Placement) string {
	switch {
	case p.GetStatus().GetReadiness() == skerryv1.Readiness_READINESS_UNHEALTHY:
		return "unhealthy"
	case p.GetSpec().GetHealth() == nil:
		return "running"
	case p.GetStatus().GetReadiness() == skerryv1.Readiness_READINESS_HEALTHY:
		return "healthy"
	default:
		return "starting"
	}
}

// works: it runs, and its health check, if it has one, succeeds.
func works(p *skerryv1.Placement) bool {
	state := placementState(p)
	return state == "healthy" || state == "running"
}

// message is what there is to say of a placement beyond its state.
func message(p *skerryv1.Placement) string {
	switch {
	case p.GetReplacedBy() != "":
		return "replaced by " + p.GetReplacedBy()
	case p.GetNode() == "":
		return p.GetDecision().GetSummary()
	default:
		return p.GetStatus().GetMessage()
	}
}

func nodeState(n *skerryv1.Node) string {
	switch n.GetState() {
	case skerryv1.NodeState_NODE_STATE_READY:
		return "ready" + dutyOf(n)
	case skerryv1.NodeState_NODE_STATE_LOST:
		return "lost" + dutyOf(n)
	case skerryv1.NodeState_NODE_STATE_REMOVED:
		return "evicted"
	default:
		return "unknown"
	}
}

// dutyOf a node as an addition to its state; empty when it is in service.
func dutyOf(n *skerryv1.Node) string {
	text := ""
	if duty := n.GetDuty().GetDuty(); duty != skerryv1.Duty_DUTY_UNSPECIFIED {
		text = "," + dutyName(duty)
	}
	if n.GetDistrust().GetUntil() != nil {
		text += ",distrusted"
	}
	return text
}

func dutyName(duty skerryv1.Duty) string {
	return strings.ToLower(strings.TrimPrefix(duty.String(), "DUTY_"))
}

// dutyText is a duty within a sentence.
func dutyText(duty skerryv1.Duty) string {
	if duty == skerryv1.Duty_DUTY_MAINTENANCE {
		return "in maintenance"
	}
	return dutyName(duty)
}

func voterRole(n *skerryv1.Node) string {
	role := "-"
	switch n.GetVoter() {
	case skerryv1.VoterRole_VOTER_ROLE_VOTER:
		role = "voter"
	case skerryv1.VoterRole_VOTER_ROLE_LEARNER:
		role = "learner"
	}
	if n.GetWitness() && role != "-" {
		return role + " (witness)"
	}
	return role
}

// lastExit says how the last run of a placement ended.
func lastExit(e *skerryv1.Exit) string {
	switch {
	case e == nil:
		return ""
	case e.GetOomKilled():
		return fmt.Sprintf("killed above its memory limit (exit code %d)", e.GetCode())
	default:
		return fmt.Sprintf("exit code %d", e.GetCode())
	}
}
