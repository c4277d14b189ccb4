package sim

import (
	"fmt"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// describe an entry in a few words, for the readable trace.
func describe(entry *sitev1.Entry) string {
	switch change := entry.GetChange().(type) {
	case *sitev1.Entry_ApplyResources:
		if len(change.ApplyResources.GetResources()) == 0 {
			return "apply nothing"
		}
		w := change.ApplyResources.GetResources()[0].GetWorkload()
		return fmt.Sprintf("apply %s replicas %d image %s", w.GetName(), w.GetReplicas(), w.GetContainer().GetImage())
	case *sitev1.Entry_SteerRollout:
		return fmt.Sprintf("%v %s", change.SteerRollout.GetAction(), change.SteerRollout.GetWorkload())
	case *sitev1.Entry_StartSite:
		return fmt.Sprintf("start the site, power on %v", change.StartSite.GetPowerOn())
	case *sitev1.Entry_DeleteResource:
		return "delete " + change.DeleteResource.GetName()
	case *sitev1.Entry_SetPower:
		return fmt.Sprintf("move %s to %q", change.SetPower.GetPlacement(), change.SetPower.GetTo())
	case *sitev1.Entry_Plan:
		return describePlan(change.Plan)
	case *sitev1.Entry_StatusBatch:
		return describeBatch(change.StatusBatch)
	case *sitev1.Entry_SetNodeState:
		return fmt.Sprintf("%s is %v: %s", change.SetNodeState.GetNode(), change.SetNodeState.GetState(), change.SetNodeState.GetReason())
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T", change), "*sitev1.Entry_")
	}
}

func describePlan(plan *sitev1.Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan of %d", plan.GetBaseIndex())
	for _, part := range plan.GetLapse() {
		fmt.Fprintf(&b, ", the lease of %s has ended", part.GetPlacement())
	}
	for _, part := range plan.GetRemove() {
		fmt.Fprintf(&b, ", remove %s (%s)", part.GetPlacement(), part.GetReason())
	}
	for _, part := range plan.GetCreate() {
		fmt.Fprintf(&b, ", create %s.%d", part.GetWorkload(), part.GetGeneration())
		if part.GetReplaces() != "" {
			b.WriteString(" for " + part.GetReplaces())
		}
		if part.GetBind() != "" {
			b.WriteString(" on " + part.GetBind())
		}
	}
	for _, part := range plan.GetMigrate() {
		fmt.Fprintf(&b, ", move %s away", part.GetPlacement())
	}
	for _, part := range plan.GetAssign() {
		fmt.Fprintf(&b, ", %s on %s", part.GetPlacement(), part.GetNode())
	}
	for _, part := range plan.GetRollouts() {
		fmt.Fprintf(&b, ", %s.%d %v %s", part.GetWorkload(), part.GetGeneration(), part.GetVerdict(), part.GetReason())
	}
	for _, part := range plan.GetDue() {
		fmt.Fprintf(&b, ", %s due %s %s", part.GetWorkload(), part.GetDue().AsTime().Format("15:04:05"), part.GetMissed())
	}
	for _, part := range plan.GetOver() {
		fmt.Fprintf(&b, ", run %d of %s is over", part.GetRun(), part.GetWorkload())
	}
	if plan.GetSiteStopped() {
		b.WriteString(", the site is stopped")
	}
	for _, part := range plan.GetPostpone() {
		fmt.Fprintf(&b, ", %s waits", part.GetPlacement())
	}
	return b.String()
}

func describeBatch(batch *sitev1.StatusBatch) string {
	var b strings.Builder
	b.WriteString("reports")
	for _, report := range batch.GetReports() {
		b.WriteString(" of " + report.GetNode())
		for _, p := range report.GetPlacements() {
			phase := strings.TrimPrefix(p.GetStatus().GetPhase().String(), "PHASE_")
			fmt.Fprintf(&b, " %s %s %d", p.GetPlacement(), phase, p.GetStatus().GetReadiness())
			if p.GetGone() {
				b.WriteString(" gone")
			}
		}
	}
	return b.String()
}

func describeChange(change *sitev1.VoterChange) string {
	var b strings.Builder
	if id := change.GetRemoveRaftId(); id != 0 {
		fmt.Fprintf(&b, "without replica %d on %s ", id, change.GetRemoveNode())
	}
	if id := change.GetAddRaftId(); id != 0 {
		role := strings.TrimPrefix(change.GetRole().String(), "VOTER_ROLE_")
		fmt.Fprintf(&b, "with replica %d on %s as %s", id, change.GetAddNode(), role)
	}
	return b.String()
}
