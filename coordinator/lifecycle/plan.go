package lifecycle

import (
	"sync"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Bounds of one plan; what is left comes with the next one. The state takes
// 13312 parts, of which the scheduler's are at most scheduler.MaxDecisions.
const (
	maxCreations = 5120
	maxRemovals  = 1024
	maxHeld      = 512
	// maxRuns that begin, and that end, in one plan.
	maxRuns = 64
	// maxServed nodes whose drains end, and that are trusted again, in one plan.
	maxServed = 256
	// maxPlacements of the site, as the state has it.
	maxPlacements = 100_000
)

// planner gathers one plan.
type planner struct {
	*step
	plan *sitev1.Plan
	// existing placements of the site.
	existing int
	// changed placements as the plan leaves them, nil for forgotten ones.
	changed map[string]*skerryv1.Placement
	// fresh are those of the plan's creations that may get a node at once.
	fresh []int
	// held are pending placements that must not get a node yet, and why.
	held map[string]string
	// trials of fitsWithout in this step.
	trials int
	// awaited is roomIsAwaited, found out once.
	awaited func() bool
	// moves of the rebalance by workload, and how many are under way.
	moves  map[string][]*skerryv1.RebalanceMove
	moving int
	// movesAlone: one of them ended before the next one begins.
	movesAlone bool
	// blocked moves wait for others to make room.
	blocked []*skerryv1.RebalanceMove
	// mass failure, and how many placements wait because of it.
	mass    mass
	waiting int
}

func placementKey(p *skerryv1.Placement) string { return p.GetProject() + "\x00" + p.GetName() }

// planWorkloads decides how many placements of each workload there are, and
// lets the scheduler find nodes for those that have none.
func (s *step) planWorkloads() {
	placements, workloads := s.view.Placements(), s.view.Workloads()
	p := &planner{
		step: s, plan: &sitev1.Plan{BaseIndex: s.view.Index()}, existing: len(placements),
		changed: map[string]*skerryv1.Placement{}, held: map[string]string{}, mass: s.findMass(),
	}
	p.awaited = sync.OnceValue(p.roomIsAwaited)
	if s.view.Stop() != nil {
		p.planStop(workloads, placements)
	} else {
		p.findMoves()
		for _, w := range workloads {
			p.planWorkload(w)
		}
		p.leaveMoves()
		p.forgetRollouts()
	}
	p.lapse()
	if p.waiting > 0 {
		s.effects.Waiting = p.mass.explain(s.now, p.waiting)
	}
	p.endDrains()
	p.trustAgain()
	if s.view.Stop() == nil {
		p.schedule(workloads, placements)
	}
	if len(p.plan.GetCreate())+len(p.plan.GetRemove())+len(p.plan.GetAssign())+len(p.plan.GetPostpone())+len(p.plan.GetEvict())+
		len(p.plan.GetEndDrains())+len(p.plan.GetTrust())+len(p.plan.GetDue())+len(p.plan.GetOver())+len(p.plan.GetRollouts())+len(p.plan.GetLapse())+
		len(p.plan.GetRebalanced())+len(p.plan.GetMigrate()) > 0 || p.plan.GetSiteStopped() {
		s.effects.Propose = append(s.effects.Propose, &sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: p.plan}})
	}
}

func (p *planner) planWorkload(w *skerryv1.Workload) {
	s := &sheet{
		planner: p, w: w, all: p.view.PlacementsOf(w.GetProject(), w.GetName()), rollout: p.view.Rollout(w.GetProject(), w.GetName()),
	}
	s.watchRollout()
	switch {
	case w.GetPerNode():
		s.planPerNode()
	case manifest.IsJob(w):
		s.planJob()
	default:
		s.planReplicas()
	}
	s.hold()
	s.holdBeside()
	s.holdAfter()
	if !manifest.IsJob(w) {
		s.judge()
	}
}

func (s *sheet) planReplicas() {
	// Removals first, as the state does them; what is old goes before what is
	// only too much.
	s.release()
	s.update()
	s.removeSurplus()
	s.replaceLost()
	s.moveAway()
	s.rebalance()
	s.succeed()
	s.addMissing()
}
