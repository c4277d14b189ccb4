package scheduler

import (
	"fmt"
	"strings"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// refuse says why no node fits a class, and what would help. When very much
// waits, the reasons that were given before are left as they are.
func (s *site) refuse(p *skerryv1.Placement, c *class) *skerryv1.Decision {
	if s.refusals == maxRefusals {
		if p.GetDecision() != nil {
			return p.GetDecision()
		}
		return &skerryv1.Decision{Index: s.Index, Summary: "no node fits; the reasons are given when less is waiting"}
	}
	s.refusals++
	filters := append(s.fixed(c.widest()), s.changing(c.shape)...)
	decision := &skerryv1.Decision{Index: s.Index, Summary: "no node fits: " + s.ruledOut(filters), Remedy: s.remedy(c)}
	for _, n := range s.nodes[:min(len(s.nodes), maxVerdicts)] {
		decision.Verdicts = append(decision.Verdicts, &skerryv1.Verdict{Node: n.GetName(), RuledOut: reasons(filters, n)})
	}
	decision.Omitted = uint32(len(s.nodes) - len(decision.Verdicts))
	return decision
}

// ruledOut counts the nodes by what rules them out first.
func (s *site) ruledOut(filters []filter) string {
	if len(s.nodes) == 0 {
		return "the site has no nodes"
	}
	ruled := make([]int, len(filters))
	for _, n := range s.nodes {
		for i, f := range filters {
			if !f.fits(n) {
				ruled[i]++
				break
			}
		}
	}
	var parts []string
	for i, f := range filters {
		if ruled[i] > 0 {
			parts = append(parts, f.explain(ruled[i]))
		}
	}
	return strings.Join(parts, ", ")
}

// lack of one node: what is missing there for a class that may run there.
type lack struct {
	node *node
	// share of the node that is missing, of what is missing most.
	share int64
	parts []string
}

// remedy is the smallest change after which one more placement would fit.
func (s *site) remedy(c *class) string {
	var least *lack
	var like *node
	for _, n := range s.nodes {
		if !fitsAll(s.allowing(c.widest()), n) {
			continue
		}
		if s.fitsEmpty(c, n) && (like == nil || n.room.GetCpuMilli() < like.room.GetCpuMilli()) {
			like = n
		}
		if l := s.lack(c, n); l != nil && (least == nil || l.share < least.share) {
			least = l
		}
	}
	var ways []string
	if least != nil {
		ways = append(ways, strings.Join(least.parts, " and ")+" more on "+least.node.GetName())
	}
	if like != nil {
		ways = append(ways, "one more node like "+like.GetName())
	}
	if len(ways) > 0 {
		return "needs " + strings.Join(ways, ", or ")
	}
	return s.larger(c)
}

// allowing are the filters that more room does not help with.
func (s *site) allowing(sh *shape) []filter {
	filters := s.fixed(sh)
	for _, f := range s.changing(sh) {
		if _, is := f.(affinityFilter); is {
			filters = append(filters, f)
		}
	}
	return filters
}

// fitsEmpty: it would fit a node like this one, if nothing else ran there.
func (s *site) fitsEmpty(c *class, n *node) bool {
	empty := &node{Node: n.Node, index: n.index, room: n.room}
	for _, f := range s.changing(c.shape) {
		if _, is := f.(affinityFilter); !is && !f.fits(empty) {
			return false
		}
	}
	return true
}

// lack of a node, nil when it lacks something that cannot be added up.
func (s *site) lack(c *class, n *node) *lack {
	l := &lack{node: n}
	for _, f := range s.changing(c.shape) {
		if f.fits(n) {
			continue
		}
		switch f := f.(type) {
		case cpuFilter:
			l.add(f.needs.CPUMilli-n.freeCPU(), n.room.GetCpuMilli(), func(missing int64) string { return fmt.Sprintf("%dm CPU", missing) })
		case memoryFilter:
			l.add(f.needs.MemoryBytes-n.freeMemory(), n.room.GetMemoryBytes(), func(missing int64) string { return mebibytes(missing) + " memory" })
		case diskFilter:
			l.add(f.needs.DiskBytes-n.freeDisk(), n.room.GetDiskBytes(), func(missing int64) string { return mebibytes(missing) + " disk" })
		case deviceFilter:
			l.add(f.device.Count-n.freeDevices(f.device.Name), int64(n.room.GetDevices()[f.device.Name]),
				func(missing int64) string { return fmt.Sprintf("%d of device %s", missing, f.device.Name) })
		case portFilter:
			port, holder, _ := n.usage.Taken(f.needs.HostPorts)
			if holder == state.AgentItself {
				return nil
			}
			l.add(1, 1, func(int64) string { return fmt.Sprintf("port %s, which %s has,", port, holder) })
		}
	}
	return l
}

func (l *lack) add(missing, of int64, say func(int64) string) {
	l.parts = append(l.parts, say(missing))
	l.share = max(l.share, millionths(missing, of))
}

// mebibytes, rounded up: what is missing must be enough.
func mebibytes(bytes int64) string { return size(bytes + 1<<20 - 1) }

// larger says what node the site does not have.
func (s *site) larger(c *class) string {
	asks := fmt.Sprintf("%dm CPU and %s memory", c.needs.CPUMilli, size(c.needs.MemoryBytes))
	if c.needs.DiskBytes > 0 {
		asks += " and " + size(c.needs.DiskBytes) + " disk"
	}
	for _, d := range c.needs.Devices {
		asks += fmt.Sprintf(" and %d of device %s", d.Count, d.Name)
	}
	if len(c.spec.GetPlace().GetRequire())+len(c.spec.GetPlace().GetKeepIn())+len(c.shape.terms) > 0 {
		return "needs a node that is ready, meets its conditions and has " + asks
	}
	return "needs a node that is ready and has " + asks
}
