package scheduler

import (
	"cmp"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// site is the input, indexed, with what this call has placed so far.
type site struct {
	Input
	nodes  []*node // sorted by name
	byName map[string]*node
	images map[string]*skerryv1.Image
	// workloads and their placements by project and name.
	workloads map[name]*workload
	// refused are decisions against placements of a kind, of those that may have
	// any node.
	refused map[kind]*skerryv1.Decision
}

// name of a workload.
type name struct{ project, name string }

// kind of placements that ask for the same.
type kind struct {
	name
	generation uint64
}

func kindOf(p *skerryv1.Placement) kind {
	return kind{name{p.GetProject(), p.GetWorkload()}, p.GetGeneration()}
}

// node and what is bound to it.
type node struct {
	*skerryv1.Node
	usage *state.Usage
	// running counts the placements of each workload that count.
	running map[name]int
}

// workload and where its placements are.
type workload struct {
	*skerryv1.Workload
	all []*skerryv1.Placement
	// bound during this call.
	bound int
}

func newSite(in Input) *site {
	s := &site{
		Input: in, byName: map[string]*node{}, images: map[string]*skerryv1.Image{}, workloads: map[name]*workload{},
		refused: map[kind]*skerryv1.Decision{},
	}
	for _, n := range in.Nodes {
		if n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		info := &node{Node: n, usage: state.UsageOf(nil).Reserve(n), running: map[name]int{}}
		s.nodes = append(s.nodes, info)
		s.byName[n.GetName()] = info
	}
	slices.SortFunc(s.nodes, func(a, b *node) int { return cmp.Compare(a.GetName(), b.GetName()) })
	for _, i := range in.Images {
		s.images[i.GetName()] = i
	}
	for _, w := range in.Workloads {
		s.workloads[name{w.GetProject(), w.GetName()}] = &workload{Workload: w}
	}
	for _, p := range in.Placements {
		s.add(p)
	}
	return s
}

// add an existing placement.
func (s *site) add(p *skerryv1.Placement) {
	of := name{p.GetProject(), p.GetWorkload()}
	if w := s.workloads[of]; w != nil {
		w.all = append(w.all, p)
	}
	n := s.byName[p.GetNode()]
	if n == nil {
		return
	}
	if needs, err := state.NeedsOf(p.GetSpec()); err == nil {
		n.usage.Add(p.GetName(), needs)
	}
	if state.Counts(p) && p.GetLostSince() == nil {
		n.running[of]++
	}
}

// take binds a placement to a node for the rest of this call.
func (s *site) take(n *node, p *skerryv1.Placement, needs state.Needs) {
	of := name{p.GetProject(), p.GetWorkload()}
	n.usage.Add(p.GetName(), needs)
	n.running[of]++
	if w := s.workloads[of]; w != nil {
		w.bound++
	}
}

// mayBind holds back what stays while its predecessor may still run.
func (s *site) mayBind(p *skerryv1.Placement) bool {
	w := s.workloads[name{p.GetProject(), p.GetWorkload()}]
	if w == nil {
		return false // deleted in the meantime
	}
	return state.FreeToBind(w.Workload, p, w.all) > w.bound
}

// inReach tells whether any node that is ready holds the image.
func (s *site) inReach(i *skerryv1.Image) bool {
	return slices.ContainsFunc(i.GetNodes(), func(holder string) bool {
		n := s.byName[holder]
		return n != nil && n.GetState() == skerryv1.NodeState_NODE_STATE_READY
	})
}
