package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"skerry.dev/coordinator/state"
)

// What makes another node better, the most important first.
const (
	rankBroken = iota
	rankSpread
	rankHere
	rankWishes
	rankLoad
)

// standing of a node for one placement, as if that were placed there now.
type standing struct {
	fill float64
	here int32
	// wishes about nodes that are met, and those about other workloads.
	wishes, company int32
	load            int64
}

// better finds the node on which a placement would go, if that is worth a move
// away from its own; nil when it is not. broken is why it must not be there.
func (p *pool) better(from *node, broken string) (to *node, rank int, why string) {
	own := p.standing(from, from)
	others := p.besides(from)
	if len(others) == 2 && p.standing(others[1].node, from).before(p.standing(others[0].node, from)) {
		slices.Reverse(others)
	}
	for _, m := range others {
		if broken != "" {
			return m.node, rankBroken, broken
		}
		if rank, why := p.compare(from, m.node, own, p.standing(m.node, from)); rank >= 0 {
			return m.node, rank, why
		}
	}
	return nil, -1, ""
}

func (s standing) before(o standing) bool {
	return cmp.Or(cmp.Compare(s.fill, o.fill), cmp.Compare(s.here, o.here), cmp.Compare(o.wishes, s.wishes), cmp.Compare(s.load, o.load)) < 0
}

// standing of a node for a placement that is on from now.
func (p *pool) standing(n, from *node) standing {
	around, share := p.around(n)
	same := p.valueOf(n) == p.valueOf(from)
	if same {
		around--
	}
	st := standing{
		fill: (2*float64(around) + 1) / share, here: p.owner.workload.here[n.index],
		wishes: p.wishesOf(n), load: taken(n, p.shape.needs),
	}
	st.company = p.preference(n) - st.wishes
	if n == from {
		st.here--
		st.load = taken(n, state.Needs{})
	}
	return st
}

// around counts the placements of the owner in the node's domain, which has this
// share; also where no node fits.
func (p *pool) around(n *node) (int32, float64) {
	value := p.valueOf(n)
	if at, known := p.values[value]; known {
		return p.domains[at].around, p.domains[at].share
	}
	count := int32(0)
	for index, here := range p.owner.workload.here {
		if p.valueOf(p.site.nodes[index]) == value {
			count += here
		}
	}
	targets := p.shape.spec.GetPlace().GetTargets()
	if len(targets) == 0 {
		return count, 1
	}
	rest := 100.0
	for _, t := range targets {
		if t.GetValue() == value {
			return count, max(float64(t.GetPercent()), 1e-6)
		}
		rest -= float64(t.GetPercent())
	}
	return count, max(rest/float64(len(p.domains)+1), 1e-6)
}

// wishesOf a node that are met, about nodes only.
func (p *pool) wishesOf(n *node) int32 {
	sum := int32(0)
	for _, wish := range p.shape.spec.GetPlace().GetPrefer() {
		if state.Meets(n.Node, wish.GetNode()) {
			sum += wish.GetWeight()
		}
	}
	return sum
}

// taken is the load of a node with something more, by what is scarcest: the same
// whoever asks.
func taken(n *node, more state.Needs) int64 {
	load := max(millionths(n.usage.CPUMilli+more.CPUMilli, n.room.GetCpuMilli()),
		millionths(n.usage.MemoryBytes+more.MemoryBytes, n.room.GetMemoryBytes()))
	if n.room.GetDiskBytes() > 0 {
		load = max(load, millionths(n.usage.DiskBytes+more.DiskBytes, n.room.GetDiskBytes()))
	}
	return load
}

// besides are the best node of another domain than the node's own, and the best
// other one of its own.
func (p *pool) besides(n *node) []*member {
	own, known := p.values[p.valueOf(n)]
	var found []*member
	if first := p.firstDomain(own, known); first != nil && len(first.heap) > 0 {
		found = append(found, &p.members[first.heap[0]])
	}
	if !known {
		return found
	}
	heap := p.domains[own].heap
	best := int32(-1)
	for i := range heap[:min(len(heap), 3)] {
		if p.members[heap[i]].node != n && (best < 0 || p.members[heap[i]].key < p.members[best].key) {
			best = heap[i]
		}
	}
	if best >= 0 {
		found = append(found, &p.members[best])
	}
	return found
}

// firstDomain that is not a certain one, if there is that one.
func (p *pool) firstDomain(but int32, known bool) *domain {
	if len(p.top) == 0 {
		return nil
	}
	if !known || p.top[0] != but {
		return &p.domains[p.top[0]]
	}
	switch {
	case len(p.top) == 1:
		return nil
	case len(p.top) == 2 || p.domainLess(1, 2):
		return &p.domains[p.top[1]]
	default:
		return &p.domains[p.top[2]]
	}
}

// compare two nodes for a placement that is on the first one: by what the second
// one is better so that a move is worth it, -1 when it is not.
func (p *pool) compare(from, to *node, own, there standing) (int, string) {
	const same = 1e-9
	switch diff := there.fill - own.fill; {
	case diff < -same*own.fill:
		return rankSpread, p.unevenly(from, to)
	case diff > same*own.fill:
		return -1, ""
	}
	packs := p.site.Policy.Pack
	switch {
	case !packs && there.here < own.here:
		return rankHere, fmt.Sprintf("%d of them are on %s, %d on %s", own.here+1, from.GetName(), there.here, to.GetName())
	case !packs && there.here > own.here, there.company < own.company, there.wishes < own.wishes:
		return -1, ""
	case there.wishes > own.wishes:
		return rankWishes, fmt.Sprintf("%s meets more of its wishes: %+d instead of %+d", to.GetName(), there.wishes, own.wishes)
	}
	if lighter := own.load-there.load >= worthwhile && p.relieves(from); !packs && lighter {
		return rankLoad, fmt.Sprintf("%s is %s %% taken, %s would be %s %% taken with it", from.GetName(), tenths(own.load), to.GetName(), tenths(there.load))
	}
	if fuller := there.load-own.load >= worthwhile; packs && fuller {
		return rankLoad, fmt.Sprintf("the site packs: %s is %s %% taken, %s would be %s %% taken with it",
			from.GetName(), tenths(own.load), to.GetName(), tenths(there.load))
	}
	return -1, ""
}

// relieves: the node is less loaded without one placement of the owner.
func (p *pool) relieves(n *node) bool {
	needs := p.shape.needs
	without := state.Needs{CPUMilli: -needs.CPUMilli, MemoryBytes: -needs.MemoryBytes, DiskBytes: -needs.DiskBytes}
	return taken(n, without) < taken(n, state.Needs{})
}

func (p *pool) unevenly(from, to *node) string {
	here, _ := p.around(from)
	there, _ := p.around(to)
	total := int32(0)
	for _, count := range p.owner.workload.here {
		total += count
	}
	text := fmt.Sprintf("spread over %s: %d of %d are in %s, %d in %s", p.shape.label, here, total, p.valueOf(from), there, p.valueOf(to))
	if len(p.shape.spec.GetPlace().GetTargets()) > 0 {
		text += ", which is not as its targets say"
	}
	return text
}

// broken says why a placement of the class must not be on a node; empty when it
// may.
func (s *site) broken(c *class, n *node) string {
	place := c.spec.GetPlace()
	if len(place.GetRequire())+len(place.GetKeepIn())+len(c.shape.terms) == 0 {
		return ""
	}
	var parts []string
	for _, f := range s.fixed(c.shape) {
		if label, is := f.(labelFilter); is && !f.fits(n) {
			parts = append(parts, label.reason(n))
		}
	}
	for _, t := range c.shape.terms {
		if t.weight == 0 && !t.metWithout(c, n) {
			parts = append(parts, t.describe(n))
		}
	}
	return strings.Join(parts, "; ")
}

// metWithout one placement of the class on this node.
func (t term) metWithout(c *class, n *node) bool {
	value, has := state.Label(n.Node, t.tally.label)
	count := t.tally.at[value]
	if t.tally.of == c.name {
		count--
	}
	return (has && count > 0) != t.away
}

// leavesAlone: something that must be with the class would not be any more, or
// the placement itself, of a class that must be with itself.
func (s *site) leavesAlone(c *class, from, to *node) bool {
	for _, t := range c.shape.terms {
		if t.weight != 0 || t.away || t.tally.of != c.name {
			continue
		}
		here, has := state.Label(from.Node, t.tally.label)
		there, _ := state.Label(to.Node, t.tally.label)
		if same := has && here == there; !same && (t.tally.at[here] == 2 || t.tally.at[there] == 0) || same && t.tally.at[here] == 1 {
			return true
		}
	}
	for _, w := range s.Workloads {
		if w.GetProject() != c.project || w.GetName() == c.name.name {
			continue
		}
		for _, a := range w.GetPlace().GetWith() {
			if a.GetWorkload() == c.name.name && a.GetWeight() == 0 && s.lastFor(w.GetName(), c, affinityLabel(a), from, to) {
				return true
			}
		}
	}
	return false
}

// lastFor: there is one placement of the class where others of this name must be
// with it, and it would go from there.
func (s *site) lastFor(follower string, c *class, label string, from, to *node) bool {
	here, has := state.Label(from.Node, label)
	if there, also := state.Label(to.Node, label); !has || also && here == there {
		return false
	}
	count := func(of *workload) int32 {
		sum := int32(0)
		for index, n := range of.here {
			if value, has := state.Label(s.nodes[index].Node, label); has && value == here {
				sum += n
			}
		}
		return sum
	}
	others := s.workloads[name{c.project, follower}]
	return count(c.workload) <= 1 && (others == nil || count(others) > 0)
}
