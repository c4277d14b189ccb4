package lifecycle

import (
	"skerry.dev/coordinator/scheduler"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Bounds of one plan; what is left comes with the next one. The state takes
// 4096 parts, of which the scheduler's are at most scheduler.MaxDecisions.
const (
	maxCreations = 1024
	maxRemovals  = 1024
	// maxPlacements of the site, as the state has it.
	maxPlacements = 20_000
)

// planner gathers one plan.
type planner struct {
	*step
	plan *sitev1.Plan
	// existing placements of the site.
	existing int
	// changed placements as the plan leaves them, nil for forgotten ones.
	changed map[string]*skerryv1.Placement
	// held are pending placements that must not get a node yet, and why.
	held map[string]string
}

func placementKey(p *skerryv1.Placement) string { return p.GetProject() + "\x00" + p.GetName() }

// planWorkloads decides how many placements of each workload there are, and
// lets the scheduler find nodes for those that have none.
func (s *step) planWorkloads() {
	placements := s.view.Placements()
	p := &planner{
		step: s, plan: &sitev1.Plan{BaseIndex: s.view.Index()}, existing: len(placements),
		changed: map[string]*skerryv1.Placement{}, held: map[string]string{},
	}
	workloads := s.view.Workloads()
	for _, w := range workloads {
		sheet := &sheet{planner: p, w: w, all: s.view.PlacementsOf(w.GetProject(), w.GetName())}
		sheet.addMissing()
	}
	p.schedule(workloads, placements)
	if len(p.plan.GetCreate())+len(p.plan.GetRemove())+len(p.plan.GetAssign())+len(p.plan.GetPostpone()) > 0 {
		s.effects.Propose = append(s.effects.Propose, &sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: p.plan}})
	}
}

// schedule finds nodes for what is pending already: new placements have no
// names yet.
func (p *planner) schedule(workloads []*skerryv1.Workload, placements []*skerryv1.Placement) {
	in := scheduler.Input{Index: p.view.Index(), Workloads: workloads, Nodes: p.view.Nodes(), Images: p.view.Images()}
	for _, placement := range placements {
		if changed, ok := p.changed[placementKey(placement)]; ok {
			placement = changed
		}
		if placement != nil {
			in.Placements = append(in.Placements, placement)
		}
	}
	p.plan.Assign, p.plan.Postpone = scheduler.Schedule(in)
}
