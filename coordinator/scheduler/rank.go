package scheduler

import (
	"skerry.dev/coordinator/state"
)

// The key of a node puts into one number what makes it better than others of
// its domain, the lowest first: fewer placements of the workload, wishes that are
// met, less load (or more, when the site packs), the image at hand, its name.
const (
	nodeBits  = 17
	imageBits = 1
	loadBits  = 20
	prefBits  = 12
	hereBits  = 64 - nodeBits - imageBits - loadBits - prefBits

	// whole is all of a node, in millionths.
	whole = 1_000_000
	// noPreference is the middle of the scale of wishes.
	noPreference = 1 << (prefBits - 1)
)

func (p *pool) keyOf(m *member) uint64 {
	load := min(uint64(p.load(m.node)), 1<<loadBits-1)
	here := uint64(0)
	if p.site.Policy.Pack {
		load = 1<<loadBits - 1 - load
	} else if p.owner != nil {
		here = min(uint64(p.owner.workload.here[m.node.index]), 1<<hereBits-1)
	}
	key := here<<prefBits | uint64(noPreference-m.pref)
	key = key<<loadBits | load
	key <<= imageBits
	if !m.holds {
		key |= 1
	}
	nodes := uint64(len(p.site.nodes))
	return key<<nodeBits | (uint64(m.node.index)+p.site.Seed%nodes)%nodes
}

// load of a node with one placement more, in millionths of what is scarcest.
func (p *pool) load(n *node) int64 {
	needs := &p.shape.needs
	load := max(
		millionths(n.usage.CPUMilli+needs.CPUMilli, n.room.GetCpuMilli()),
		millionths(n.usage.MemoryBytes+needs.MemoryBytes, n.room.GetMemoryBytes()))
	if needs.DiskBytes > 0 {
		load = max(load, millionths(n.usage.DiskBytes+needs.DiskBytes, n.room.GetDiskBytes()))
	}
	return load
}

// millionths that a part is of a whole, in a way that cannot overflow.
func millionths(part, of int64) int64 {
	if of <= 0 {
		return whole
	}
	return int64(float64(part) / float64(of) * whole)
}

// preference adds up the wishes that a node meets.
func (p *pool) preference(n *node) int32 {
	sum := int32(0)
	for _, wish := range p.shape.spec.GetPlace().GetPrefer() {
		if state.Meets(n.Node, wish.GetNode()) {
			sum += wish.GetWeight()
		}
	}
	for _, t := range p.shape.terms {
		if t.weight > 0 && t.met(n) {
			sum += t.weight
		}
	}
	return max(-noPreference+1, min(noPreference-1, sum))
}
