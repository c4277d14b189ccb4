package scheduler

import (
	"cmp"
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const permille = 1000

// candidate is a node that fits, and what speaks for it.
type candidate struct {
	node *node
	// domain is the node's value of the label to spread over.
	label, domain string
	// here are the workload's placements on the node, around those in its
	// domain, total those in the site.
	here, around, total int
	// load of the node with the placement, in thousandths of what is scarcer.
	load     int64
	hasImage bool
	score    float64
}

func (s *site) rate(n *node, p *skerryv1.Placement, needs state.Needs) candidate {
	of := name{p.GetProject(), p.GetWorkload()}
	image := s.images[p.GetSpec().GetContainer().GetImage()]
	c := candidate{node: n, label: spreadLabel(p), here: n.running[of], hasImage: slices.Contains(image.GetNodes(), n.GetName())}
	c.domain, _ = state.Label(n.Node, c.label)
	c.load = max(
		share(n.usage.CPUMilli+needs.CPUMilli, n.GetCapacity().GetCpuMilli()),
		share(n.usage.MemoryBytes+needs.MemoryBytes, n.GetCapacity().GetMemoryBytes()))
	return c
}

func spreadLabel(p *skerryv1.Placement) string {
	if label := p.GetSpec().GetPlace().GetSpread(); label != "" {
		return label
	}
	return "zone"
}

// share of a whole in thousandths, in a way that cannot overflow.
func share(part, whole int64) int64 {
	if whole <= 0 {
		return permille
	}
	return int64(float64(part) / float64(whole) * permille)
}

// rank sorts the candidates, best first: the domain with the fewest placements
// of the workload, in it the node with the fewest, then the least loaded, then
// one that has the image, then by name.
func (s *site) rank(fit []candidate, p *skerryv1.Placement) []candidate {
	of := name{p.GetProject(), p.GetWorkload()}
	perDomain, total := map[string]int{}, 0
	for _, n := range s.nodes {
		domain, _ := state.Label(n.Node, fit[0].label)
		perDomain[domain] += n.running[of]
		total += n.running[of]
	}
	for i := range fit {
		fit[i].around, fit[i].total = perDomain[fit[i].domain], total
	}
	slices.SortFunc(fit, func(a, b candidate) int {
		return cmp.Or(
			cmp.Compare(a.around, b.around),
			cmp.Compare(a.here, b.here),
			cmp.Compare(a.load, b.load),
			-cmp.Compare(truth(a.hasImage), truth(b.hasImage)),
			cmp.Compare(a.node.GetName(), b.node.GetName()),
		)
	})
	for i := range fit {
		fit[i].score = score(fit[i], fit[0])
	}
	return fit
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// score puts the ranking into one number for people: hundreds for the spread
// over domains, tens for that over nodes, ones for the load.
func score(c, best candidate) float64 {
	points := int64(permille)
	points -= int64(100 * min(8, c.around-best.around))
	points -= int64(10 * min(8, max(0, c.here-best.here)))
	points -= min(permille, max(0, c.load)) * 9 / permille
	return float64(points)
}

func (c candidate) spread() string {
	return fmt.Sprintf("spread %s=%s: %d of %d placements", c.label, c.domain, c.around, c.total)
}

func (c candidate) verdict() *skerryv1.Verdict {
	v := &skerryv1.Verdict{Node: c.node.GetName(), Score: c.score, Reasons: []string{
		c.spread(),
		fmt.Sprintf("%d of them on this node", c.here),
		fmt.Sprintf("%d.%d %% taken with it", c.load/10, c.load%10),
	}}
	if c.hasImage {
		v.Reasons = append(v.Reasons, "it holds the image")
	}
	return v
}

// summary says why the best one was chosen.
func (c candidate) summary(fit, nodes int) string {
	if fit == 1 {
		return fmt.Sprintf("%s is the only one of %s that fits", c.node.GetName(), nodesAre(nodes))
	}
	return fmt.Sprintf("%s is the best of %d that fit: %s, %d on this node, %d.%d %% taken with it",
		c.node.GetName(), fit, c.spread(), c.here, c.load/10, c.load%10)
}
