package scheduler

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// The nodes of the tests have two cores and a GiB.
func machine(name, zone string, change ...func(*skerryv1.Node)) *skerryv1.Node {
	n := &skerryv1.Node{
		Name: name, Zone: zone, State: skerryv1.NodeState_NODE_STATE_READY,
		Capacity: &skerryv1.Capacity{CpuMilli: 2000, MemoryBytes: 1 << 30},
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func isLost(n *skerryv1.Node) { n.State = skerryv1.NodeState_NODE_STATE_LOST }

func isDistrusted(n *skerryv1.Node) {
	n.Distrust = &skerryv1.Distrust{Until: &timestamppb.Timestamp{Seconds: 60}}
}

func hasCondition(kind string) func(*skerryv1.Node) {
	return func(n *skerryv1.Node) { n.Conditions = append(n.Conditions, &skerryv1.Condition{Type: kind}) }
}

func hasLabel(name, value string) func(*skerryv1.Node) {
	return func(n *skerryv1.Node) { n.Labels = map[string]string{name: value} }
}

func listens(address, gossip string) func(*skerryv1.Node) {
	return func(n *skerryv1.Node) { n.Address, n.GossipAddress = address, gossip }
}

func hasCPU(milli int64) func(*skerryv1.Node) {
	return func(n *skerryv1.Node) { n.Capacity.CpuMilli = milli }
}

// Workloads ask for half a core and 64 MiB, and for image web:1.
func template(name string, replicas uint32, change ...func(*skerryv1.Workload)) *skerryv1.Workload {
	w := &skerryv1.Workload{
		Name: name, Replicas: &replicas, Generation: 1,
		Container: &skerryv1.Container{Image: "web:1", Resources: &skerryv1.Resources{Cpu: "500m", Memory: "64Mi"}},
	}
	for _, c := range change {
		c(w)
	}
	manifest.Default(w)
	return w
}

func stays(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{Mode: manifest.Stay} }

func asksFor(cpu, memory string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) {
		w.Container.Resources = &skerryv1.Resources{Cpu: cpu, Memory: memory}
	}
}

func publishes(port uint32) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) {
		w.Container.Ports = []*skerryv1.Port{{Name: "http", Port: 80, HostPort: port, Protocol: "tcp"}}
	}
}

func requires(label string, in ...string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: label, In: in}}}
	}
}

func spreads(label string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Place = &skerryv1.Place{Spread: label} }
}

func runs(image string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Container.Image = image }
}

// placement number n of a workload, made in that second; pending without node.
func placement(w *skerryv1.Workload, n int, node string) *skerryv1.Placement {
	return &skerryv1.Placement{
		Name: fmt.Sprintf("%s-%d", w.GetName(), n), Project: w.GetProject(), Workload: w.GetName(), Node: node,
		Generation: w.GetGeneration(), Spec: w, Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
		Created: &timestamppb.Timestamp{Seconds: int64(n)},
	}
}

func stopping(p *skerryv1.Placement) *skerryv1.Placement {
	p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
	return p
}

// site of nodes, with web:1 everywhere.
func siteOf(nodes ...*skerryv1.Node) Input {
	image := &skerryv1.Image{Name: "web:1"}
	for _, n := range nodes {
		image.Nodes = append(image.Nodes, n.GetName())
	}
	return Input{Index: 7, Nodes: nodes, Images: []*skerryv1.Image{image}}
}

// with workloads and placements.
func with(in Input, w *skerryv1.Workload, placements ...*skerryv1.Placement) Input {
	in.Workloads = append(in.Workloads, w)
	in.Placements = append(in.Placements, placements...)
	return in
}

// pending placements of a workload, in their order.
func pending(in Input, w *skerryv1.Workload, count int) Input {
	in.Workloads = append(in.Workloads, w)
	for n := range count {
		in.Placements = append(in.Placements, placement(w, n+1, ""))
	}
	return in
}

// say where placements go, `web-1:n2`, or why not.
func say(in Input) string {
	plan := Schedule(in)
	var said []string
	for _, a := range plan.Assign {
		said = append(said, a.GetPlacement()+":"+a.GetNode())
	}
	for _, p := range plan.Postpone {
		said = append(said, p.GetPlacement()+": "+p.GetDecision().GetSummary())
	}
	return strings.Join(said, " ")
}
