package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxEvictions of one call.
	maxEvictions = 256
	// maxVictims of one placement.
	maxVictims = 8
	// maxSearched nodes are looked at for victims.
	maxSearched = 512
)

// sacrifice is what would have to go from a node.
type sacrifice struct {
	node    *node
	victims []*skerryv1.Placement
}

// makeRoom for a placement that finds no node, by ending others of a lower
// priority: those with the least to lose. It waits until they are gone. false
// when nothing can be done.
func (s *site) makeRoom(p *skerryv1.Placement, c *class) bool {
	if c.spec.GetPriority() == 0 || c.hopeless || s.cannotBegin(c) != "" || len(s.plan.Evict) >= maxEvictions {
		return false
	}
	found := s.sacrifice(c)
	if found == nil {
		c.hopeless = true
		return false
	}
	for _, victim := range found.victims {
		if victim.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue // it goes already
		}
		s.plan.Evict = append(s.plan.Evict, &sitev1.Eviction{
			Project: victim.GetProject(), Placement: victim.GetName(), ForProject: p.GetProject(), ForPlacement: p.GetName(),
		})
	}
	s.giveWay(found, p, c)
	s.postpone(p, &skerryv1.Decision{Index: s.Index, Promised: found.node.GetName(), Summary: found.explain()})
	return true
}

func (f *sacrifice) explain() string {
	switch len(f.victims) {
	case 0:
		return fmt.Sprintf("it waits for %s, where room is being made already", f.node.GetName())
	case 1:
		return fmt.Sprintf("it waits for %s until %s is gone, which makes room for it", f.node.GetName(), f.victims[0].GetName())
	default:
		return fmt.Sprintf("it waits for %s until %s and %d more are gone, which makes room for it",
			f.node.GetName(), f.victims[0].GetName(), len(f.victims)-1)
	}
}

// giveWay counts the room as that of the placement, so that nobody else gets it
// or makes the same room twice.
func (s *site) giveWay(found *sacrifice, p *skerryv1.Placement, c *class) {
	for _, victim := range found.victims {
		s.evicted[victim] = true
		if of := (name{victim.GetProject(), victim.GetWorkload()}); state.IsHealthy(victim) && s.spareOf(of) < state.Unlimited {
			s.spare[of]--
		}
	}
	s.placed[found.node.index] = append(s.placed[found.node.index], p)
	found.node.usage = s.without(found.node, nil)
	c.workload.bound++
	c.workload.here[found.node.index]++
	s.changes = append(s.changes, found.node.index)
}

// sacrifice with the least loss: of nothing but what stops already, then of the
// lowest priority, then of the fewest.
func (s *site) sacrifice(c *class) *sacrifice {
	var best *sacrifice
	searched := 0
	for _, n := range s.nodes {
		if searched == maxSearched {
			break
		}
		if !fitsAll(s.allowing(c.shape), n) || !s.fitsEmpty(c, n) {
			continue
		}
		searched++
		if victims := s.victims(c, n); victims != nil && (best == nil || cheaper(victims, best.victims)) {
			best = &sacrifice{n, victims}
		}
	}
	return best
}

func cheaper(a, b []*skerryv1.Placement) bool {
	highest := func(all []*skerryv1.Placement) (priority uint32, ends int) {
		for _, p := range all {
			if p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
				priority, ends = max(priority, p.GetSpec().GetPriority()+1), ends+1
			}
		}
		return priority, ends
	}
	priorityA, endsA := highest(a)
	priorityB, endsB := highest(b)
	return cmp.Or(cmp.Compare(priorityA, priorityB), cmp.Compare(endsA, endsB), cmp.Compare(len(a), len(b))) < 0
}

// victims on one node, as few as possible: none when what gives way to others
// leaves room enough; nil when nothing helps.
func (s *site) victims(c *class, n *node) []*skerryv1.Placement {
	var may []*skerryv1.Placement
	for _, p := range s.boundTo(n) {
		if !s.evicted[p] && state.GivesWay(p, c.spec, state.Unlimited) {
			may = append(may, p)
		}
	}
	slices.SortStableFunc(may, func(a, b *skerryv1.Placement) int {
		return cmp.Or(-cmp.Compare(a.GetDesired(), b.GetDesired()),
			cmp.Compare(a.GetSpec().GetPriority(), b.GetSpec().GetPriority()),
			cmp.Compare(b.GetCreated().GetSeconds(), a.GetCreated().GetSeconds()))
	})
	gone, takes := map[*skerryv1.Placement]bool{}, map[name]int{}
	victims := []*skerryv1.Placement{}
	for _, p := range may {
		if s.fitsWithout(c, n, gone) {
			break
		}
		of := name{p.GetProject(), p.GetWorkload()}
		if !state.GivesWay(p, c.spec, s.spareOf(of)-takes[of]) {
			continue // its workload needs it
		}
		if state.IsHealthy(p) {
			takes[of]++
		}
		gone[p] = true
		victims = append(victims, p)
	}
	if !s.fitsWithout(c, n, gone) {
		return nil
	}
	// Those that turned out not to be needed stay, the most important first.
	for i := len(victims) - 1; i >= 0; i-- {
		delete(gone, victims[i])
		if s.fitsWithout(c, n, gone) {
			victims = slices.Delete(victims, i, i+1)
		} else {
			gone[victims[i]] = true
		}
	}
	if len(victims) > maxVictims {
		return nil
	}
	return victims
}

func (s *site) fitsWithout(c *class, n *node, gone map[*skerryv1.Placement]bool) bool {
	then := &node{Node: n.Node, index: n.index, room: n.room, usage: s.without(n, gone)}
	for _, f := range s.changing(c.shape) {
		if _, is := f.(affinityFilter); !is && !f.fits(then) {
			return false
		}
	}
	return true
}

// without what goes, the usage of a node.
func (s *site) without(n *node, gone map[*skerryv1.Placement]bool) state.Usage {
	left := &node{Node: n.Node}
	for _, p := range s.boundTo(n) {
		if needs, err := s.meter.needs(p.GetSpec()); err == nil && !gone[p] && !s.evicted[p] {
			left.add(p.GetName(), needs)
		}
	}
	for _, p := range s.placed[n.index] {
		if needs, err := s.meter.needs(p.GetSpec()); err == nil {
			left.add(p.GetName(), needs)
		}
	}
	return left.usage
}

// boundTo a node; found out for all of them when first asked for.
func (s *site) boundTo(n *node) []*skerryv1.Placement {
	if s.bound == nil {
		s.bound = map[string][]*skerryv1.Placement{}
		for _, p := range s.Placements {
			if p.GetNode() != "" && p.GetEnded() == nil {
				s.bound[p.GetNode()] = append(s.bound[p.GetNode()], p)
			}
		}
	}
	return s.bound[n.GetName()]
}

// spareOf a workload is how many of its healthy placements may be ended. Those
// that ask for it are counted once, when the first one is asked for.
func (s *site) spareOf(of name) int {
	if s.spare == nil {
		s.spare = s.countSpare()
	}
	if spare, limited := s.spare[of]; limited {
		return spare
	}
	return state.Unlimited
}

func (s *site) countSpare() map[name]int {
	asking := map[name]*skerryv1.Workload{}
	for _, w := range s.Workloads {
		if w.GetMinAvailable() != "" {
			asking[name{w.GetProject(), w.GetName()}] = w
		}
	}
	all := map[name][]*skerryv1.Placement{}
	for _, p := range s.Placements {
		if of := (name{p.GetProject(), p.GetWorkload()}); asking[of] != nil {
			all[of] = append(all[of], p)
		}
	}
	spare := map[name]int{}
	for of, w := range asking {
		spare[of] = state.Spare(w, all[of], state.Unlimited)
	}
	return spare
}
