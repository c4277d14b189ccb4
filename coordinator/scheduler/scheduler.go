package scheduler

import (
	"cmp"
	"slices"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	// MaxDecisions of one call; what is left comes next time.
	MaxDecisions = 5120
	// maxRefusals are classes that one call explains.
	maxRefusals = 128
	// maxVerdicts of one decision.
	maxVerdicts = 32
)

// Input is the part of the site's state that matters.
type Input struct {
	// Index of the state.
	Index uint64
	// Seed decides between nodes that are equal; by name when it is 0.
	Seed uint64
	// Policy of the site. The zero value is the default.
	Policy state.Policy
	// Workloads tells how many placements there may be of what stays.
	Workloads []*skerryv1.Workload
	Nodes     []*skerryv1.Node
	// Placements of all workloads: those with a node take room there, those
	// without are to be placed.
	Placements []*skerryv1.Placement
	Images     []*skerryv1.Image
	Volumes    []*skerryv1.Volume
}

// Plan is what Schedule decided.
type Plan struct {
	Assign   []*sitev1.Assignment
	Postpone []*sitev1.Postponement
	// Evict makes room for what has a higher priority.
	Evict []*sitev1.Eviction
}

// Schedule finds a node for each pending placement, those of the highest
// priority first and of these the oldest, or says why there is none.
// Postponements that say what the placement says already are left out.
func Schedule(in Input) Plan {
	waiting := pendingOf(in.Placements)
	if len(waiting) == 0 {
		return Plan{}
	}
	if in.Policy == (state.Policy{}) {
		in.Policy = state.DefaultPolicy()
	}
	s := newSite(in, waiting)
	for _, p := range waiting {
		if len(s.plan.Assign)+len(s.plan.Postpone)+len(s.plan.Evict) >= MaxDecisions {
			break
		}
		s.place(p, s.classOf(p))
	}
	return s.plan
}

// pendingOf returns what is to be placed, first things first.
func pendingOf(all []*skerryv1.Placement) []*skerryv1.Placement {
	var waiting []*skerryv1.Placement
	for _, p := range all {
		if p.GetNode() == "" && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			waiting = append(waiting, p)
		}
	}
	if !slices.IsSortedFunc(waiting, first) {
		slices.SortFunc(waiting, first)
	}
	return waiting
}

func first(a, b *skerryv1.Placement) int {
	if by := cmp.Compare(b.GetSpec().GetPriority(), a.GetSpec().GetPriority()); by != 0 {
		return by
	}
	if a.GetCreated() != b.GetCreated() {
		if by := cmp.Or(cmp.Compare(a.GetCreated().GetSeconds(), b.GetCreated().GetSeconds()),
			cmp.Compare(a.GetCreated().GetNanos(), b.GetCreated().GetNanos())); by != 0 {
			return by
		}
	}
	return cmp.Or(
		cmp.Compare(a.GetProject(), b.GetProject()),
		// web-9 comes before web-10.
		cmp.Compare(len(a.GetName()), len(b.GetName())),
		cmp.Compare(a.GetName(), b.GetName()),
	)
}

// place decides on one placement and takes the room for it. Room only gets
// less during a call: what found none once does not look again for the next one
// of its class.
func (s *site) place(p *skerryv1.Placement, c *class) {
	if c.reopened() {
		c.refused = nil
	}
	if c.refused == nil {
		if reason := s.cannotBegin(c); reason != "" {
			c.refused = &skerryv1.Decision{Index: s.Index, Summary: reason}
		}
	}
	if p.GetDecision().GetRebalance() != "" && !state.StopsFirst(p.GetSpec()) {
		s.placeMoved(p, c)
		return
	}
	if c.refused == nil {
		if s.placeIn(s.poolOf(c, c.shape), p, c) || c.lastResort != nil && s.placeIn(s.poolOf(c, c.lastResort), p, c) {
			return
		}
		c.refused = s.refuse(p, c)
	}
	if s.makeRoom(p, c) {
		return
	}
	s.postpone(p, c.refused)
	c.refused = c.again(p)
}

// placeIn a pool, on the node that was promised or the best one; false when none
// fits.
func (s *site) placeIn(pool *pool, p *skerryv1.Placement, c *class) bool {
	to := cmp.Or(pool.promised(p), pool.best())
	if to == nil {
		return false
	}
	s.assign(p, c, pool, to)
	return true
}

// placeMoved finds a place for what a rebalance moves: the node for which it was
// made, or none. Its predecessor runs still.
func (s *site) placeMoved(p *skerryv1.Placement, c *class) {
	if reason := s.cannotBegin(c); reason == "" {
		pool := s.poolOf(c, c.shape)
		if promised := pool.promised(p); promised != nil {
			s.assign(p, c, pool, promised)
			return
		}
	}
	s.postpone(p, &skerryv1.Decision{
		Index: s.Index, Rebalance: p.GetDecision().GetRebalance(),
		Summary: p.GetDecision().GetRebalance() + ": its node does not fit any more",
	})
}

// again is the decision against the next one of a class: the same, with the
// verdicts of the first.
func (c *class) again(p *skerryv1.Placement) *skerryv1.Decision {
	if len(c.refused.GetVerdicts()) == 0 {
		return c.refused
	}
	return &skerryv1.Decision{
		Index: c.refused.GetIndex(), Summary: c.refused.GetSummary(), Remedy: c.refused.GetRemedy(), ExplainedBy: p.GetName(),
	}
}

func (s *site) assign(p *skerryv1.Placement, c *class, from *pool, best *member) {
	decision := s.decide(p, c, from, best)
	s.plan.Assign = append(s.plan.Assign, &sitev1.Assignment{
		Project: p.GetProject(), Placement: p.GetName(), Node: best.node.GetName(), Decision: decision,
	})
	s.take(c, p, best.node)
}

func (s *site) postpone(p *skerryv1.Placement, decision *skerryv1.Decision) {
	if !state.SameDecision(p.GetDecision(), decision) {
		s.plan.Postpone = append(s.plan.Postpone, &sitev1.Postponement{
			Project: p.GetProject(), Placement: p.GetName(), Decision: decision,
		})
	}
}

// cannotBegin names what keeps a placement from any node at all.
func (s *site) cannotBegin(c *class) string {
	image := manifest.ImageOf(c.spec)
	if s.images[image] == nil {
		return "image " + image + " is not loaded: skerry image load FILE"
	}
	if disk := s.images[image].GetDiskBytes() > 0; disk != (c.spec.GetVm() != nil) {
		return "image " + image + " is one of a " + map[bool]string{true: "disk, not of a container", false: "container, not of a disk"}[disk]
	}
	if c.free <= c.workload.bound {
		return "its predecessor may still run on its node: it waits until that is gone"
	}
	if c.unclear != nil {
		return "what it asks for makes no sense: " + c.unclear.Error()
	}
	return ""
}
