package scheduler

// The heaps of a pool: of nodes by key, lowest first, and of domains by how
// full they are, then by their best node. Each element knows its place, so that
// it can be moved when it changes.

func (p *pool) heapNodes(d *domain) {
	for i := len(d.heap)/2 - 1; i >= 0; i-- {
		p.nodeDown(d, int32(i))
	}
}

func (p *pool) swapNodes(d *domain, i, j int32) {
	d.heap[i], d.heap[j] = d.heap[j], d.heap[i]
	p.members[d.heap[i]].pos, p.members[d.heap[j]].pos = i, j
}

func (p *pool) nodeLess(d *domain, i, j int32) bool {
	return p.members[d.heap[i]].key < p.members[d.heap[j]].key
}

func (p *pool) nodeDown(d *domain, i int32) bool {
	began := i
	for {
		least := 2*i + 1
		if least >= int32(len(d.heap)) {
			break
		}
		if right := least + 1; right < int32(len(d.heap)) && p.nodeLess(d, right, least) {
			least = right
		}
		if !p.nodeLess(d, least, i) {
			break
		}
		p.swapNodes(d, i, least)
		i = least
	}
	return i > began
}

func (p *pool) nodeUp(d *domain, i int32) {
	for i > 0 && p.nodeLess(d, i, (i-1)/2) {
		p.swapNodes(d, i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (p *pool) fixNode(d *domain, i int32) {
	if !p.nodeDown(d, i) {
		p.nodeUp(d, i)
	}
}

// leave takes a member out of its heap for good.
func (p *pool) leave(at int32) {
	m := &p.members[at]
	d := &p.domains[m.domain]
	i, last := m.pos, int32(len(d.heap)-1)
	if i != last {
		p.swapNodes(d, i, last)
	}
	d.heap = d.heap[:last]
	m.pos = -1
	p.fits--
	if i != last {
		p.fixNode(d, i)
	}
}

func (p *pool) heapDomains() {
	for i := len(p.top)/2 - 1; i >= 0; i-- {
		p.domainDown(int32(i))
	}
}

func (p *pool) swapDomains(i, j int32) {
	p.top[i], p.top[j] = p.top[j], p.top[i]
	p.domains[p.top[i]].pos, p.domains[p.top[j]].pos = i, j
}

// domainLess: those without nodes come last.
func (p *pool) domainLess(i, j int32) bool {
	a, b := &p.domains[p.top[i]], &p.domains[p.top[j]]
	switch {
	case len(a.heap) == 0 || len(b.heap) == 0:
		return len(a.heap) > len(b.heap)
	case a.fill != b.fill:
		return a.fill < b.fill
	default:
		return p.members[a.heap[0]].key < p.members[b.heap[0]].key
	}
}

func (p *pool) domainDown(i int32) bool {
	began := i
	for {
		least := 2*i + 1
		if least >= int32(len(p.top)) {
			break
		}
		if right := least + 1; right < int32(len(p.top)) && p.domainLess(right, least) {
			least = right
		}
		if !p.domainLess(least, i) {
			break
		}
		p.swapDomains(i, least)
		i = least
	}
	return i > began
}

// settle moves a domain to where it belongs after a change.
func (p *pool) settle(at int32) {
	d := &p.domains[at]
	p.fillOf(d)
	if p.domainDown(d.pos) {
		return
	}
	for i := d.pos; i > 0 && p.domainLess(i, (i-1)/2); i = (i - 1) / 2 {
		p.swapDomains(i, (i-1)/2)
	}
}

// fillOf a domain: how many of its share it would have with half a placement
// more, so that shares are met as closely as whole numbers can.
func (p *pool) fillOf(d *domain) { d.fill = (2*float64(d.around) + 1) / d.share }
