package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// filter rules out nodes for one shape, for one kind of reason.
type filter interface {
	// fits is asked often: it makes no text.
	fits(*node) bool
	// reason against a node that does not fit.
	reason(*node) string
	// explain says in a few words why so many nodes were ruled out.
	explain(nodes int) string
}

// fixed filters say the same during a whole call.
func (s *site) fixed(sh *shape) []filter {
	image := s.images[manifest.ImageOf(sh.spec)]
	filters := []filter{readyFilter{}, serviceFilter{sh.spec}, conditionFilter{}}
	if sh.wary {
		filters = append(filters, trustFilter{})
	}
	filters = append(filters, s.vmFilters(sh.spec)...)
	filters = append(filters, s.volumeFilters(sh.spec)...)
	if !s.inReach(image) {
		filters = append(filters, imageFilter{image})
	}
	if place := sh.spec.GetPlace(); len(place.GetRequire()) > 0 || len(place.GetKeepIn()) > 0 {
		filters = append(filters, labelFilter{place.GetRequire(), "without the required labels"},
			labelFilter{place.GetKeepIn(), "outside of where it must be kept"})
	}
	return filters
}

// allowed tells for each node whether the fixed filters let it through: once for
// all shapes with the same image and conditions.
func (s *site) allowed(sh *shape, fixed []filter) []bool {
	place := &skerryv1.Place{Require: sh.spec.GetPlace().GetRequire(), KeepIn: sh.spec.GetPlace().GetKeepIn()}
	key := fmt.Sprint(sh.wary) + manifest.ImageOf(sh.spec) + "\x00" + vmKey(sh.spec) + volumeKey(sh.spec) + "\x00" + string(encoded(place)) + "\x00" + state.PinnedTo(sh.spec)
	nodes, known := s.let[key]
	if !known {
		nodes = make([]bool, len(s.nodes))
		for i, n := range s.nodes {
			nodes[i] = fitsAll(fixed, n)
		}
		s.let[key] = nodes
	}
	return nodes
}

// encoded gives equal bytes for equal places. What the state took can be
// encoded.
func encoded(place *skerryv1.Place) []byte {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(place)
	if err != nil {
		panic("scheduler: " + err.Error())
	}
	return text
}

// changing filters rule out more as room is taken.
func (s *site) changing(sh *shape) []filter {
	var filters []filter
	for _, t := range sh.terms {
		if t.weight == 0 {
			filters = append(filters, affinityFilter{t})
		}
	}
	if len(sh.needs.HostPorts) > 0 {
		filters = append(filters, portFilter{sh.needs})
	}
	filters = append(filters, cpuFilter{sh.needs}, memoryFilter{sh.needs})
	if sh.needs.DiskBytes > 0 {
		filters = append(filters, diskFilter{sh.needs})
	}
	for _, d := range sh.needs.Devices {
		filters = append(filters, deviceFilter{d})
	}
	return filters
}

func fitsAll(filters []filter, n *node) bool {
	for _, f := range filters {
		if !f.fits(n) {
			return false
		}
	}
	return true
}

// reasons against a node. A node that is not there at all needs no further
// ones.
func reasons(filters []filter, n *node) []string {
	var all []string
	for _, f := range filters {
		if f.fits(n) {
			continue
		}
		all = append(all, f.reason(n))
		if _, gone := f.(readyFilter); gone {
			break
		}
	}
	return all
}

func nodesAre(count int) string {
	if count == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", count)
}

// readyFilter wants nodes that are there.
type readyFilter struct{}

func (readyFilter) fits(n *node) bool        { return n.GetState() == skerryv1.NodeState_NODE_STATE_READY }
func (readyFilter) reason(*node) string      { return "it is lost" }
func (readyFilter) explain(nodes int) string { return nodesAre(nodes) + " lost" }

// serviceFilter wants nodes that may get new work.
type serviceFilter struct{ spec *skerryv1.Workload }

func (f serviceFilter) fits(n *node) bool     { return state.WhyNoWork(n.Node, f.spec) == "" }
func (f serviceFilter) reason(n *node) string { return state.WhyNoWork(n.Node, f.spec) }

func (serviceFilter) explain(nodes int) string { return nodesAre(nodes) + " out of service" }

// trustFilter wants nodes that were not lost again and again.
type trustFilter struct{}

func (trustFilter) fits(n *node) bool { return !state.IsDistrusted(n.Node) }
func (trustFilter) reason(*node) string {
	return "it was lost several times within an hour: it is the last resort"
}
func (trustFilter) explain(nodes int) string { return nodesAre(nodes) + " not trusted" }

// conditionFilter wants nodes that can run containers at all.
type conditionFilter struct{}

// blocking conditions, as agents report them.
var blocking = []string{"ContainerdDown", "DiskFull", "DiskReadOnly", "DiskHangs", "DescriptorsGone"}

func (conditionFilter) fits(n *node) bool {
	return !slices.ContainsFunc(n.GetConditions(), isBlocking)
}

func isBlocking(c *skerryv1.Condition) bool { return slices.Contains(blocking, c.GetType()) }

func (conditionFilter) reason(n *node) string {
	at := slices.IndexFunc(n.GetConditions(), isBlocking)
	return "it has the condition " + n.GetConditions()[at].GetType()
}

func (conditionFilter) explain(nodes int) string { return nodesAre(nodes) + " in need of attention" }

// imageFilter wants nodes that have the image, when nobody in reach does.
type imageFilter struct{ image *skerryv1.Image }

func (f imageFilter) fits(n *node) bool {
	return slices.Contains(f.image.GetNodes(), n.GetName())
}
func (f imageFilter) reason(*node) string { return "no node in reach holds image " + f.image.GetName() }

func (f imageFilter) explain(nodes int) string {
	return nodesAre(nodes) + " cannot fetch image " + f.image.GetName() + " from anywhere"
}

// labelFilter wants nodes with the labels asked for.
type labelFilter struct {
	require []*skerryv1.Requirement
	without string
}

func (f labelFilter) fits(n *node) bool {
	for _, r := range f.require {
		if !state.Meets(n.Node, r) {
			return false
		}
	}
	return true
}

func (f labelFilter) reason(n *node) string {
	for _, r := range f.require {
		if state.Meets(n.Node, r) {
			continue
		}
		if has, ok := state.Label(n.Node, r.GetLabel()); ok {
			return fmt.Sprintf("label %s is %s, not %s", r.GetLabel(), has, manifest.Condition(r))
		}
		return fmt.Sprintf("it has no label %s, %s is required", r.GetLabel(), manifest.Condition(r))
	}
	return ""
}

func (f labelFilter) explain(nodes int) string { return nodesAre(nodes) + " " + f.without }

// affinityFilter wants nodes close to, or away from, another workload.
type affinityFilter struct{ term term }

func (f affinityFilter) fits(n *node) bool     { return f.term.met(n) }
func (f affinityFilter) reason(n *node) string { return f.term.describe(n) }

func (f affinityFilter) explain(nodes int) string {
	if f.term.away {
		return fmt.Sprintf("%s not apart from %s", nodesAre(nodes), f.term.tally.of.name)
	}
	return fmt.Sprintf("%s not with %s", nodesAre(nodes), f.term.tally.of.name)
}

// portFilter wants nodes whose host ports are free.
type portFilter struct{ needs state.Needs }

func (f portFilter) fits(n *node) bool {
	n.reserve()
	_, _, taken := n.usage.Taken(f.needs.HostPorts)
	return !taken
}

func (f portFilter) reason(n *node) string {
	port, holder, _ := n.usage.Taken(f.needs.HostPorts)
	return fmt.Sprintf("port %s is taken by %s", port, holder)
}

func (f portFilter) explain(nodes int) string {
	var ports []string
	for _, port := range f.needs.HostPorts {
		ports = append(ports, port.String())
	}
	return nodesAre(nodes) + " with port " + strings.Join(ports, " or ") + " taken"
}
