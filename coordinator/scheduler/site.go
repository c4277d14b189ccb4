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
	plan   Plan
	nodes  []*node // sorted by name
	byName map[string]*node
	images map[string]*skerryv1.Image
	// volumes by project and name.
	volumes map[name]*skerryv1.Volume
	holds   map[string][]bool
	// let are the nodes that fixed filters let through.
	let map[string][]bool
	// unzoned: each node is a zone of its own.
	unzoned bool
	// distrusts some of its nodes.
	distrusts bool
	meter     meter
	// workloads that are of interest, by project and name.
	workloads map[name]*workload
	// avoiders keep apart from a workload.
	avoiders map[name][]*skerryv1.Workload
	classes  map[kind]*class
	last     *class
	// pools by shape, and their order of age.
	pools map[string]*pool
	ages  []string
	// changes are the nodes that got something, in order.
	changes []int32
	// explained counts decisions that were explained one by one.
	explained, refusals int
	// bound placements by node, once somebody asks; evicted ones among them, and
	// what this call placed instead of them or into free room.
	bound   map[string][]*skerryv1.Placement
	evicted map[*skerryv1.Placement]bool
	// spare placements of workloads that ask for some to stay, once somebody asks.
	spare map[name]int
	// ranked: there is work of different priorities, which may have to give way.
	ranked bool
	placed map[int32][]*skerryv1.Placement
}

// name of a workload.
type name struct{ project, name string }

// node and what is bound to it.
type node struct {
	*skerryv1.Node
	index int32
	room  *skerryv1.Capacity
	usage state.Usage
}

// workload and where its placements are.
type workload struct {
	*skerryv1.Workload
	all []*skerryv1.Placement
	// here counts placements by node, as far as they count.
	here map[int32]int32
	// bound during this call.
	bound   int
	tallies []*tally
}

func newSite(in Input, waiting []*skerryv1.Placement) *site {
	s := &site{
		Input: in, byName: make(map[string]*node, len(in.Nodes)), images: map[string]*skerryv1.Image{}, volumes: map[name]*skerryv1.Volume{},
		holds: map[string][]bool{}, let: map[string][]bool{}, meter: newMeter(), workloads: map[name]*workload{}, classes: map[kind]*class{}, pools: map[string]*pool{},
		evicted: map[*skerryv1.Placement]bool{}, placed: map[int32][]*skerryv1.Placement{},
	}
	s.addNodes()
	for _, i := range in.Images {
		s.images[i.GetName()] = i
	}
	for _, v := range in.Volumes {
		s.volumes[name{v.GetProject(), v.GetName()}] = v
	}
	for _, p := range waiting {
		s.interest(name{p.GetProject(), p.GetWorkload()})
	}
	for _, w := range in.Workloads {
		of := name{w.GetProject(), w.GetName()}
		if known := s.workloads[of]; known != nil {
			known.Workload = w
		}
	}
	s.avoided()
	for _, p := range waiting {
		s.watch(p)
		s.ranked = s.ranked || p.GetSpec().GetPriority() > 0
	}
	for _, p := range in.Placements {
		s.add(p)
	}
	return s
}

func (s *site) addNodes() {
	present := make([]*skerryv1.Node, 0, len(s.Nodes))
	for _, n := range s.Nodes {
		if n.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
			present = append(present, n)
		}
	}
	byName := func(a, b *skerryv1.Node) int { return cmp.Compare(a.GetName(), b.GetName()) }
	if !slices.IsSortedFunc(present, byName) {
		slices.SortFunc(present, byName)
	}
	all := make([]node, len(present))
	s.nodes = make([]*node, len(present))
	s.unzoned = true
	for i, n := range present {
		all[i] = node{Node: n, index: int32(i), room: s.Policy.Room(n.GetCapacity())}
		s.nodes[i] = &all[i]
		s.unzoned = s.unzoned && n.GetZone() == n.GetName()
		s.distrusts = s.distrusts || state.IsDistrusted(n)
		s.byName[n.GetName()] = &all[i]
	}
}

// interest asks that the placements of a workload are looked at.
func (s *site) interest(of name) *workload {
	w := s.workloads[of]
	if w == nil {
		w = &workload{here: map[int32]int32{}}
		s.workloads[of] = w
	}
	return w
}

// add an existing placement.
func (s *site) add(p *skerryv1.Placement) {
	w := s.workloads[name{p.GetProject(), p.GetWorkload()}]
	if w != nil {
		w.all = append(w.all, p)
	}
	if p.GetNode() == "" || p.GetEnded() != nil {
		return
	}
	n := s.byName[p.GetNode()]
	if n == nil {
		return
	}
	if needs, err := s.meter.needs(p.GetSpec()); err == nil {
		n.add(p.GetName(), needs)
		if other := s.byName[p.GetMigration().GetOther()]; other != nil {
			other.add(p.GetName(), needs)
		}
	}
	if w == nil {
		return
	}
	counts := state.Counts(p) && p.GetLostSince() == nil
	if counts {
		w.here[n.index]++
	}
	for _, t := range w.tallies {
		t.add(n, counts)
	}
}

// add a placement's needs; ports are looked at when somebody has any.
func (n *node) add(placement string, needs state.Needs) {
	if len(needs.HostPorts) > 0 {
		n.reserve()
	}
	n.usage.Add(placement, needs)
}

// reserve the ports of the node's own agent, once.
func (n *node) reserve() {
	if n.usage.Ports == nil {
		n.usage.Ports = map[string]string{}
		n.usage.Reserve(n.Node)
	}
}

// take binds a placement to a node for the rest of this call.
func (s *site) take(c *class, p *skerryv1.Placement, n *node) {
	n.add(p.GetName(), c.needs)
	c.workload.bound++
	c.workload.here[n.index]++
	for _, t := range c.workload.tallies {
		t.add(n, true)
	}
	s.changes = append(s.changes, n.index)
	if s.ranked {
		s.placed[n.index] = append(s.placed[n.index], p)
	}
	s.pools[c.shape.key].count(c, n)
	if c.lastResort != nil {
		s.pools[c.lastResort.key].count(c, n)
	}
}

// holders of an image, by node.
func (s *site) holders(image string) []bool {
	holds, known := s.holds[image]
	if !known {
		holds = make([]bool, len(s.nodes))
		for _, holder := range s.images[image].GetNodes() {
			if n := s.byName[holder]; n != nil {
				holds[n.index] = true
			}
		}
		s.holds[image] = holds
	}
	return holds
}

// inReach tells whether any node that is ready holds the image.
func (s *site) inReach(i *skerryv1.Image) bool {
	return slices.ContainsFunc(i.GetNodes(), func(holder string) bool {
		n := s.byName[holder]
		return n != nil && n.GetState() == skerryv1.NodeState_NODE_STATE_READY
	})
}
