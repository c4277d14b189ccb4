package sim

import (
	"slices"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// judgeEntry looks at what one entry has done to the forms of workloads. What
// people asked for is judged, whatever became of it on its way.
func (w *world) judgeEntry(entry *sitev1.Entry, outcome *sitev1.Outcome, before, after *state.View) {
	happened := outcome.GetErrorKind() == "" && outcome.GetIndex() == after.Index()
	asked := entry
	if wanted := w.asked[entry.GetRequestId()]; wanted != nil {
		asked = wanted
	}
	if happened {
		for _, resource := range asked.GetApplyResources().GetResources() {
			if workload := resource.GetWorkload(); workload != nil {
				w.wishes[workload.GetName()] = workload
			}
		}
		w.judgeSteering(asked.GetSteerRollout(), before, after)
		w.judgeStop(entry, asked, before, after)
		w.knowMoves(asked.GetStartRebalance())
	}
	w.judgeWrong(entry, outcome, before, after)
	if plan := entry.GetPlan(); plan != nil {
		w.judgeTurns(plan, before, after)
	}
	plan := entry.GetPlan()
	// A drain may take what maxUnavailable lets it.
	drains := slices.ContainsFunc(plan.GetRemove(), (*sitev1.Removal).GetDrain)
	ours := happened && (plan != nil && len(plan.GetEvict()) == 0 && !drains && before.Stop() == nil || asked.GetSteerRollout() != nil || asked.GetApplyResources() != nil)
	for _, name := range formsOfAll() {
		if !slices.Contains(jobs, name) {
			w.violate(w.rollouts.Observe(w.wishes[name].GetUpdate(), updateOf(name, after), ours))
		}
	}
	w.violate(w.runs.Observe(after.Workloads(), after.Placements(), check.Asked{
		Workload: func(name string) *skerryv1.Workload { return w.wishes[name] }, Exit: w.exitOf,
	}))
}

func updateOf(name string, view *state.View) check.Update {
	return check.Update{
		Name: name, Workload: view.Workload(project, name), Revisions: view.Revisions(project, name),
		Placements: view.PlacementsOf(project, name), Serves: view.Serves,
	}
}

func (w *world) judgeSteering(steer *sitev1.SteerRollout, before, after *state.View) {
	if steer == nil {
		return
	}
	w.violate(w.rollouts.Steered(steer.GetAction(), updateOf(steer.GetWorkload(), before), updateOf(steer.GetWorkload(), after)))
}

// exitOf a placement, as it really was.
func (w *world) exitOf(p *skerryv1.Placement) (int32, bool) {
	code, ended := w.exits[p.GetProject()+"."+p.GetName()]
	return code, ended
}

// judgeTurns: what waits for others starts after them, and ends before them when
// the site stops.
func (w *world) judgeTurns(plan *sitev1.Plan, before, after *state.View) {
	for _, p := range placed(before, after) {
		w.violate(w.turns.Starts(p.GetName(), p.GetWorkload(), plan.GetBaseIndex()))
		if w.halt != nil {
			w.violate(check.Began(p.GetName() + " goes to " + p.GetNode()))
		}
	}
	if w.halt == nil || after.Time().AsTime().After(w.halt.deadline) {
		return
	}
	for _, part := range plan.GetRemove() {
		if p := before.Placement(part.GetProject(), part.GetPlacement()); part.GetSiteStop() && endedBy(p, after) {
			w.violate(w.turns.Stops(p.GetName(), p.GetWorkload(), plan.GetBaseIndex()))
		}
	}
}

// judgeTold: what an agent was told is known is known.
func (s *served) judgeTold(report *sitev1.NodeReport) {
	view := s.lead.store.View()
	for _, told := range report.GetPlacements() {
		phase := told.GetStatus().GetPhase()
		if phase == skerryv1.Phase_PHASE_STOPPED || phase == skerryv1.Phase_PHASE_FAILED {
			s.process.world.violate(check.Told(s.node, view.Placement(told.GetProject(), told.GetPlacement())))
		}
	}
}
