package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	permille = 1000
	// maxExplained decisions of one call have verdicts of their own; of the others
	// one of each class, which those after it name.
	maxExplained = 64
	// fewVerdicts are what such a one gets.
	fewVerdicts = 8
)

// candidate is a node that fits, and what speaks for it.
type candidate struct {
	*member
	domain *domain
	here   int32
}

// decide says why the best node was chosen.
func (s *site) decide(what *skerryv1.Placement, c *class, p *pool, best *member) *skerryv1.Decision {
	decision := &skerryv1.Decision{Index: s.Index, Summary: p.summary(p.candidate(best))}
	if best.node.GetName() == what.GetDecision().GetPromised() {
		decision.Summary = "room was made for it on " + best.node.GetName()
		if moved := what.GetDecision().GetRebalance(); moved != "" {
			decision.Summary = moved
		}
	}
	if state.IsDistrusted(best.node.Node) {
		decision.Summary += "; it was lost several times within an hour, and no node that is trusted fits"
	}
	switch {
	case s.explained < maxExplained:
		s.explained++
		decision.Verdicts, decision.Omitted = s.verdicts(p, maxVerdicts)
	case c.explainedBy == "":
		decision.Verdicts, decision.Omitted = s.verdicts(p, fewVerdicts)
	default:
		decision.ExplainedBy = c.explainedBy
		return decision
	}
	c.explainedBy = what.GetName()
	return decision
}

func (p *pool) candidate(m *member) candidate {
	return candidate{m, &p.domains[m.domain], p.owner.workload.here[m.node.index]}
}

// verdicts on the best nodes, then on some that were ruled out.
func (s *site) verdicts(p *pool, limit int) (all []*skerryv1.Verdict, omitted uint32) {
	ranked := p.ranked(limit)
	for _, c := range ranked {
		all = append(all, p.verdict(c, ranked[0]))
	}
	for _, n := range s.nodes {
		if len(all) == limit {
			break
		}
		if at := p.at[n.index]; at >= 0 && p.members[at].pos >= 0 {
			continue
		}
		all = append(all, &skerryv1.Verdict{Node: n.GetName(), RuledOut: append(reasons(p.fixed, n), reasons(p.changing, n)...)})
	}
	return all, uint32(len(s.nodes) - len(all))
}

// step is a place in both heaps of a pool.
type place struct{ domain, node int32 }

// ranked returns the best candidates, the very best first, by walking down both
// heaps from their tops.
func (p *pool) ranked(limit int) []candidate {
	var ranked []candidate
	open := []place{{0, 0}}
	for len(open) > 0 && len(ranked) < limit {
		best := 0
		for i := range open {
			if p.placeLess(open[i], open[best]) {
				best = i
			}
		}
		at := open[best]
		open = slices.Delete(open, best, best+1)
		d := &p.domains[p.top[at.domain]]
		if at.node == 0 {
			open = p.open(open, place{2*at.domain + 1, 0})
			open = p.open(open, place{2*at.domain + 2, 0})
		}
		if len(d.heap) > 0 {
			ranked = append(ranked, p.candidate(&p.members[d.heap[at.node]]))
			open = p.open(open, place{at.domain, 2*at.node + 1})
			open = p.open(open, place{at.domain, 2*at.node + 2})
		}
	}
	return ranked
}

func (p *pool) open(all []place, at place) []place {
	if at.domain >= int32(len(p.top)) || at.node > 0 && at.node >= int32(len(p.domains[p.top[at.domain]].heap)) {
		return all
	}
	if len(p.domains[p.top[at.domain]].heap) == 0 {
		return all // and so are all domains below it
	}
	return append(all, at)
}

func (p *pool) placeLess(a, b place) bool {
	x, y := &p.domains[p.top[a.domain]], &p.domains[p.top[b.domain]]
	return cmp.Or(cmp.Compare(x.fill, y.fill), cmp.Compare(p.members[x.heap[a.node]].key, p.members[y.heap[b.node]].key)) < 0
}

func (p *pool) verdict(c, best candidate) *skerryv1.Verdict {
	v := &skerryv1.Verdict{Node: c.node.GetName(), Score: p.score(c, best), Reasons: []string{
		p.spread(c),
		strconv.Itoa(int(c.here)) + " of them on this node",
		tenths(p.load(c.node)) + " % taken with it",
	}}
	if c.pref != 0 {
		v.Reasons = append(v.Reasons, fmt.Sprintf("wishes %+d", c.pref))
	}
	if c.holds {
		v.Reasons = append(v.Reasons, "it holds the image")
	}
	return v
}

// score puts the ranking into one number for people: hundreds for the spread
// over domains, tens for that over nodes, ones for the load.
func (p *pool) score(c, best candidate) float64 {
	points := int64(permille)
	points -= int64(100 * min(8, max(0, c.domain.fill-best.domain.fill)/2))
	points -= int64(10 * min(8, max(0, c.here-best.here)))
	load := min(permille, p.load(c.node)/permille) * 9 / permille
	if p.site.Policy.Pack {
		load = 9 - load
	}
	return float64(points - load)
}

func (p *pool) spread(c candidate) string {
	text := append(make([]byte, 0, 64), "spread "...)
	text = append(append(append(text, p.shape.label...), '='), c.domain.value...)
	text = strconv.AppendInt(append(text, ": "...), int64(c.domain.around), 10)
	text = strconv.AppendInt(append(text, " of "...), int64(p.total), 10)
	return string(append(text, " placements"...))
}

// summary says why the best one was chosen.
func (p *pool) summary(c candidate) string {
	fit := p.fits
	if fit == 1 {
		return c.node.GetName() + " is the only one of " + nodesAre(len(p.site.nodes)) + " that fits"
	}
	text := append(make([]byte, 0, 128), c.node.GetName()...)
	text = strconv.AppendInt(append(text, " is the best of "...), int64(fit), 10)
	text = append(append(text, " that fit: "...), p.spread(c)...)
	text = strconv.AppendInt(append(text, ", "...), int64(c.here), 10)
	text = append(append(text, " on this node, "...), tenths(p.load(c.node))...)
	return string(append(text, " % taken with it"...))
}

// tenths of a percent, from millionths: `12.5`.
func tenths(millionths int64) string {
	text := strconv.AppendInt(nil, millionths/10_000, 10)
	return string(strconv.AppendInt(append(text, '.'), millionths/1000%10, 10))
}
