package main

import (
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/scheduler"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// bulk of placements that wait.
const bulk = 5000

// site of nodes with 128 cores and 512 GiB, in ten zones and fifty racks, half of
// them with an SSD. Of a full one 80 % is taken.
func (w waiting) site() scheduler.Input {
	in := scheduler.Input{Index: 1}
	image := &skerryv1.Image{Name: "web:1"}
	for n := range w.nodes {
		name := fmt.Sprintf("n%05d", n)
		image.Nodes = append(image.Nodes, name)
		in.Nodes = append(in.Nodes, &skerryv1.Node{
			Name: name, Zone: fmt.Sprintf("z%d", n%10), State: skerryv1.NodeState_NODE_STATE_READY,
			Address: "10.0.0.1:7600", GossipAddress: "10.0.0.1:7601", Version: "0.4.0",
			Labels:   map[string]string{"rack": fmt.Sprintf("r%d", n%50), "disk": []string{"ssd", "hdd"}[n/7%2]},
			Capacity: &skerryv1.Capacity{CpuMilli: 128_000, MemoryBytes: 512 << 30},
		})
	}
	in.Images = []*skerryv1.Image{image}
	if w.full {
		w.fill(&in)
	}
	w.pend(&in)
	return in
}

// fill takes 80 % of every node, in four pieces of different workloads.
func (w waiting) fill(in *scheduler.Input) {
	for k, part := range []string{"40960m", "30720m", "20480m", "10240m"} {
		old := template(fmt.Sprintf("old%d", k), part, fmt.Sprintf("%dMi", (160-40*k)<<10))
		in.Workloads = append(in.Workloads, old)
		for n, node := range in.Nodes {
			p := placementOf(old, n)
			p.Node = node.GetName()
			in.Placements = append(in.Placements, p)
		}
	}
}

// pend the bulk: of one workload, or of a thousand in ten sizes.
func (w waiting) pend(in *scheduler.Input) {
	workloads := 1000
	if w.one {
		workloads = 1
	}
	for k := range workloads {
		size := k % 10
		t := template(fmt.Sprintf("web%03d", k), fmt.Sprintf("%dm", 100+10*size), fmt.Sprintf("%dMi", 64+8*size))
		if w.wishes {
			t.Place = &skerryv1.Place{
				Spread:  "rack",
				Require: []*skerryv1.Requirement{{Label: "disk", In: []string{"ssd"}}, {Label: "version", AtLeast: "0.3"}},
				Prefer:  []*skerryv1.Preference{{Weight: 10, Node: &skerryv1.Requirement{Label: "zone", In: []string{"z1", "z2"}}}},
			}
		}
		in.Workloads = append(in.Workloads, t)
		for n := range bulk / workloads {
			in.Placements = append(in.Placements, placementOf(t, n))
		}
	}
}

func template(name, cpu, memory string) *skerryv1.Workload {
	replicas := uint32(bulk)
	t := &skerryv1.Workload{Name: name, Replicas: &replicas, Generation: 1, Container: &skerryv1.Container{
		Image: "web:1", Resources: &skerryv1.Resources{Cpu: cpu, Memory: memory},
	}}
	manifest.Default(t)
	return t
}

func placementOf(t *skerryv1.Workload, n int) *skerryv1.Placement {
	return &skerryv1.Placement{
		Name: fmt.Sprintf("%s-%d", t.GetName(), n+1), Project: t.GetProject(), Workload: t.GetName(), Generation: 1, Spec: t,
		Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Created: &timestamppb.Timestamp{Seconds: 1},
		Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING},
	}
}
