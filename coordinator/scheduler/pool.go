package scheduler

import (
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// maxPools are kept at once; the oldest one is made anew when it is needed
// again.
const maxPools = 32

// pool is the nodes that fit a shape, in two levels of heaps: domains by how
// full they are of the class, and in each of them nodes by what is better. The
// best node is at the top. What a node has taken is caught up with when the pool is
// used; a node that fits no more leaves it.
type pool struct {
	site     *site
	shape    *shape
	fixed    []filter
	changing []filter
	members  []member
	// at is the member of each node, -1 for none.
	at      []int32
	domains []domain
	// values tells the domain of each value, crowded those with placements of the
	// owner.
	values  map[string]int32
	crowded []int32
	// wishes that change with what is placed.
	wishes bool
	// top is the heap of domains, lanes the heaps of nodes, one after the other.
	top   []int32
	lanes []int32
	// owner is the class whose placements are counted.
	owner *class
	// seen changes of the site; filled values of the terms.
	seen, filled int
	// fits is how many nodes do.
	fits int
	// total of the owner's placements.
	total int32
}

type member struct {
	node   *node
	domain int32
	// pos in the domain's heap, -1 when it does not fit any more.
	pos  int32
	pref int32
	key  uint64
	// holds the image.
	holds bool
}

// domain is the nodes with one value of the label to spread over.
type domain struct {
	value string
	// share of the placements that it should have, where one means equal.
	share float64
	// around counts the owner's placements, also on nodes that do not fit.
	around int32
	fill   float64
	heap   []int32
	pos    int32
}

// poolOf a class in one of its shapes, with its placements counted.
func (s *site) poolOf(c *class, sh *shape) *pool {
	p := s.pools[sh.key]
	if p != nil && p.filled != p.filledNow() {
		p = nil
	}
	if p == nil {
		p = s.newPool(sh)
		s.keep(p)
	}
	if p.owner != c {
		p.own(c)
	}
	p.catchUp()
	return p
}

func (s *site) keep(p *pool) {
	if s.pools[p.shape.key] == nil {
		if len(s.ages) == maxPools {
			delete(s.pools, s.ages[0])
			s.ages = slices.Delete(s.ages, 0, 1)
		}
		s.ages = append(s.ages, p.shape.key)
	}
	s.pools[p.shape.key] = p
}

func (p *pool) filledNow() int {
	sum := 0
	for _, t := range p.shape.terms {
		if t.reaches() {
			sum += t.tally.filled
		}
	}
	return sum
}

func (s *site) newPool(sh *shape) *pool {
	p := &pool{
		site: s, shape: sh, fixed: s.fixed(sh), changing: s.changing(sh),
		at: make([]int32, len(s.nodes)), seen: len(s.changes),
	}
	p.filled = p.filledNow()
	p.members = make([]member, 0, len(s.nodes))
	p.values = map[string]int32{}
	allowed := s.allowed(sh, p.fixed)
	holders := s.holders(manifest.ImageOf(sh.spec))
	for _, t := range sh.terms {
		p.wishes = p.wishes || t.weight > 0
	}
	for i, n := range s.nodes {
		p.at[i] = -1
		if !allowed[i] || !fitsAll(p.changing, n) {
			continue
		}
		p.at[i] = int32(len(p.members))
		p.members = append(p.members, member{node: n, domain: p.domainOf(n), holds: holders[i]})
	}
	p.fits = len(p.members)
	p.share()
	p.fillLanes()
	return p
}

// valueOf the label to spread over. When the site packs, zones that are only
// nodes are nothing to spread over.
func (p *pool) valueOf(n *node) string {
	if p.site.Policy.Pack && p.site.unzoned && p.shape.label == "zone" {
		return ""
	}
	value, _ := state.Label(n.Node, p.shape.label)
	return value
}

func (p *pool) domainOf(n *node) int32 {
	value := p.valueOf(n)
	at, known := p.values[value]
	if !known {
		at = int32(len(p.domains))
		p.values[value] = at
		p.domains = append(p.domains, domain{value: value, share: 1})
	}
	return at
}

// share out the placements by the targets; what is not named shares the rest.
func (p *pool) share() {
	targets := p.shape.spec.GetPlace().GetTargets()
	if len(targets) == 0 {
		return
	}
	percent, rest := map[string]float64{}, 100.0
	for _, t := range targets {
		percent[t.GetValue()] = float64(t.GetPercent())
		rest -= float64(t.GetPercent())
	}
	others := 0
	for _, d := range p.domains {
		if _, named := percent[d.value]; !named {
			others++
		}
	}
	const least = 1e-6 // nothing wanted there, but better than nowhere
	for i := range p.domains {
		d := &p.domains[i]
		if share, named := percent[d.value]; named {
			d.share = max(share, least)
		} else {
			d.share = max(rest/float64(others), least)
		}
	}
}

// fillLanes makes one heap for each domain.
func (p *pool) fillLanes() {
	sizes := make([]int32, len(p.domains)+1)
	for i := range p.members {
		m := &p.members[i]
		m.pref = p.preference(m.node)
		m.key = p.keyOf(m)
		sizes[m.domain+1]++
	}
	for i := range p.domains {
		sizes[i+1] += sizes[i]
	}
	p.lanes = make([]int32, len(p.members))
	for i := range p.domains {
		p.domains[i].heap = p.lanes[sizes[i]:sizes[i]:sizes[i+1]]
	}
	for i := range p.members {
		d := &p.domains[p.members[i].domain]
		p.members[i].pos = int32(len(d.heap))
		d.heap = append(d.heap, int32(i))
	}
	p.top = make([]int32, len(p.domains))
	for i := range p.domains {
		p.heapNodes(&p.domains[i])
		p.fillOf(&p.domains[i])
		p.domains[i].pos = int32(i)
		p.top[i] = int32(i)
	}
	p.heapDomains()
}

// own counts the placements of a class in place of those of another.
func (p *pool) own(c *class) {
	before := p.owner
	p.owner = c
	for _, of := range []*class{before, c} {
		if of == nil {
			continue
		}
		for index := range of.workload.here {
			p.touch(index)
		}
	}
	for _, at := range p.crowded {
		p.domains[at].around = 0
		p.settle(at)
	}
	p.crowded, p.total = p.crowded[:0], 0
	for index, count := range c.workload.here {
		p.total += count
		if at, known := p.values[p.valueOf(p.site.nodes[index])]; known {
			p.crowd(at, count)
		}
	}
}

// crowd counts more placements of the owner in a domain.
func (p *pool) crowd(at, count int32) {
	if p.domains[at].around == 0 {
		p.crowded = append(p.crowded, at)
	}
	p.domains[at].around += count
	p.settle(at)
}

// count one more placement of the owner on a node, which may be one of another
// pool.
func (p *pool) count(c *class, n *node) {
	if p == nil || p.owner != c {
		return
	}
	p.total++
	if at := p.at[n.index]; at >= 0 {
		p.crowd(p.members[at].domain, 1)
	} else if domain, known := p.values[p.valueOf(n)]; known {
		p.crowd(domain, 1)
	}
}

// catchUp with what nodes have taken since.
func (p *pool) catchUp() {
	for _, index := range p.site.changes[p.seen:] {
		p.touch(index)
	}
	p.seen = len(p.site.changes)
}

// touch looks at one node anew.
func (p *pool) touch(index int32) {
	at := p.at[index]
	if at < 0 {
		return
	}
	m := &p.members[at]
	if m.pos < 0 {
		return
	}
	if !fitsAll(p.changing, m.node) {
		p.leave(at)
	} else {
		if p.wishes {
			m.pref = p.preference(m.node)
		}
		m.key = p.keyOf(m)
		p.fixNode(&p.domains[m.domain], m.pos)
	}
	p.settle(m.domain)
}

// promised is the node on which room was made for a placement, nil while there
// is none.
func (p *pool) promised(what *skerryv1.Placement) *member {
	n := p.site.byName[what.GetDecision().GetPromised()]
	if n == nil || p.at[n.index] < 0 || p.members[p.at[n.index]].pos < 0 {
		return nil
	}
	return &p.members[p.at[n.index]]
}

// best node for the owner, nil when there is none.
func (p *pool) best() *member {
	if len(p.top) == 0 {
		return nil
	}
	d := &p.domains[p.top[0]]
	if len(d.heap) == 0 {
		return nil
	}
	return &p.members[d.heap[0]]
}
