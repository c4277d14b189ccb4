package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// filter rules out nodes for one placement, for one kind of reason.
type filter interface {
	// check returns why the node is ruled out; empty when it is not.
	check(*node) string
	// explain says in a few words why so many nodes were ruled out.
	explain(nodes int) string
}

// chain is all filters for one placement, and how many nodes each ruled out
// first.
type chain struct {
	filters []filter
	ruled   []int
}

func newChain(s *site, p *skerryv1.Placement, needs state.Needs) *chain {
	c := &chain{filters: []filter{
		readyFilter{},
		conditionFilter{},
		imageFilter{image: s.images[p.GetSpec().GetContainer().GetImage()], inReach: s.inReach(s.images[p.GetSpec().GetContainer().GetImage()])},
		labelFilter{p.GetSpec()},
		portFilter{needs},
		cpuFilter{needs},
		memoryFilter{needs},
	}}
	c.ruled = make([]int, len(c.filters))
	return c
}

// check returns every reason against a node. A node that is not there at all
// needs no further ones.
func (c *chain) check(n *node) []string {
	var reasons []string
	for i, f := range c.filters {
		reason := f.check(n)
		if reason == "" {
			continue
		}
		if len(reasons) == 0 {
			c.ruled[i]++
		}
		reasons = append(reasons, reason)
		if _, gone := f.(readyFilter); gone {
			break
		}
	}
	return reasons
}

// explain why none of the nodes fits.
func (c *chain) explain(nodes int) string {
	if nodes == 0 {
		return "the site has no nodes"
	}
	var parts []string
	for i, f := range c.filters {
		if c.ruled[i] > 0 {
			parts = append(parts, f.explain(c.ruled[i]))
		}
	}
	return strings.Join(parts, ", ")
}

func nodesAre(count int) string {
	if count == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", count)
}

// readyFilter wants nodes that are there.
type readyFilter struct{}

func (readyFilter) check(n *node) string {
	if n.GetState() != skerryv1.NodeState_NODE_STATE_READY {
		return "it is lost"
	}
	return ""
}

func (readyFilter) explain(nodes int) string { return nodesAre(nodes) + " lost" }

// conditionFilter wants nodes that can run containers at all.
type conditionFilter struct{}

// blocking conditions, as agents report them.
var blocking = []string{"ContainerdDown", "DiskFull"}

func (conditionFilter) check(n *node) string {
	for _, c := range n.GetConditions() {
		if slices.Contains(blocking, c.GetType()) {
			return "it has the condition " + c.GetType()
		}
	}
	return ""
}

func (conditionFilter) explain(nodes int) string { return nodesAre(nodes) + " in need of attention" }

// imageFilter wants nodes that have the image or can fetch it.
type imageFilter struct {
	image   *skerryv1.Image
	inReach bool
}

func (f imageFilter) check(n *node) string {
	if f.inReach || slices.Contains(f.image.GetNodes(), n.GetName()) {
		return ""
	}
	return "no node in reach holds image " + f.image.GetName()
}

func (f imageFilter) explain(nodes int) string {
	return nodesAre(nodes) + " cannot fetch image " + f.image.GetName() + " from anywhere"
}

// labelFilter wants nodes with the labels asked for.
type labelFilter struct{ spec *skerryv1.Workload }

func (f labelFilter) check(n *node) string {
	for _, r := range f.spec.GetPlace().GetRequire() {
		if state.Meets(n.Node, r) {
			continue
		}
		wanted := strings.Join(r.GetIn(), " or ")
		if has, ok := state.Label(n.Node, r.GetLabel()); ok {
			return fmt.Sprintf("label %s is %s, not %s", r.GetLabel(), has, wanted)
		}
		return fmt.Sprintf("it has no label %s, %s is required", r.GetLabel(), wanted)
	}
	return ""
}

func (f labelFilter) explain(nodes int) string {
	return nodesAre(nodes) + " without the required labels"
}

// portFilter wants nodes whose host ports are free.
type portFilter struct{ needs state.Needs }

func (f portFilter) check(n *node) string {
	if port, holder, taken := n.usage.Taken(f.needs.HostPorts); taken {
		return fmt.Sprintf("port %s is taken by %s", port, holder)
	}
	return ""
}

func (f portFilter) explain(nodes int) string {
	var ports []string
	for _, port := range f.needs.HostPorts {
		ports = append(ports, port.String())
	}
	return nodesAre(nodes) + " with port " + strings.Join(ports, " or ") + " taken"
}

// cpuFilter wants nodes with enough CPU.
type cpuFilter struct{ needs state.Needs }

func (f cpuFilter) check(n *node) string {
	free := n.GetCapacity().GetCpuMilli() - n.usage.CPUMilli
	if f.needs.CPUMilli <= free {
		return ""
	}
	return fmt.Sprintf("%dm CPU asked for, %dm of %dm free", f.needs.CPUMilli, free, n.GetCapacity().GetCpuMilli())
}

func (f cpuFilter) explain(nodes int) string {
	return fmt.Sprintf("%s without %dm CPU free", nodesAre(nodes), f.needs.CPUMilli)
}

// memoryFilter wants nodes with enough memory.
type memoryFilter struct{ needs state.Needs }

func (f memoryFilter) check(n *node) string {
	free := n.GetCapacity().GetMemoryBytes() - n.usage.MemoryBytes
	if f.needs.MemoryBytes <= free {
		return ""
	}
	return fmt.Sprintf("%s memory asked for, %s of %s free", size(f.needs.MemoryBytes), size(free), size(n.GetCapacity().GetMemoryBytes()))
}

func (f memoryFilter) explain(nodes int) string {
	return fmt.Sprintf("%s without %s memory free", nodesAre(nodes), size(f.needs.MemoryBytes))
}

// size in MiB, as people read it.
func size(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
