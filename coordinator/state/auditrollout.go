package state

import (
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// judges tells whether a plan changes the course of a rollout.
func judges(plan *sitev1.Plan) bool {
	for _, part := range plan.GetRollouts() {
		if part.GetVerdict() != sitev1.RolloutVerdict_ROLLOUT_VERDICT_GOOD {
			return true
		}
	}
	return false
}

func describeVerdicts(leaf *skerryv1.AuditEntry, plan *sitev1.Plan) {
	leaf.Verb = "judge-rollout"
	for _, part := range plan.GetRollouts() {
		if part.GetVerdict() == sitev1.RolloutVerdict_ROLLOUT_VERDICT_GOOD || len(leaf.GetResources()) == maxNamed {
			continue
		}
		about(leaf, leaf.Verb, resourcePath("Workload", part.GetProject(), part.GetWorkload()))
		what := strings.ToLower(strings.TrimPrefix(part.GetVerdict().String(), "ROLLOUT_VERDICT_"))
		leaf.Message = bounded(strings.TrimPrefix(leaf.GetMessage()+"; "+what+": "+part.GetReason(), "; "), maxMessage)
	}
}

// steerVerb is `pause-rollout`, `roll-back-rollout`.
func steerVerb(action skerryv1.SteerAction) string {
	name := strings.ToLower(strings.TrimPrefix(action.String(), "STEER_ACTION_"))
	return strings.ReplaceAll(name, "_", "-") + "-rollout"
}
