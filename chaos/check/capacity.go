package check

import (
	"maps"
	"slices"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Needs is what one placement takes on its node.
type Needs struct {
	CPUMilli, MemoryBytes int64
	// HostPorts as `8080/tcp`.
	HostPorts []string
}

// Bound is a placement that its node must hold room for.
type Bound struct {
	Node, Name string
	Needs
}

// Fits tells whether what is bound to each node fits it.
func Fits(nodes map[string]*skerryv1.Capacity, bound []Bound) *Violation {
	used := map[string]*Needs{}
	type portOf struct{ port, node string }
	holders := map[portOf]string{}
	for _, b := range bound {
		u := used[b.Node]
		if u == nil {
			u = &Needs{}
			used[b.Node] = u
		}
		u.CPUMilli += b.CPUMilli
		u.MemoryBytes += b.MemoryBytes
		for _, port := range b.HostPorts {
			key := portOf{port, b.Node}
			if other, taken := holders[key]; taken {
				return violated(Capacity, "%s and %s both have port %s of %s", other, b.Name, port, b.Node)
			}
			holders[key] = b.Name
		}
	}
	for _, node := range slices.Sorted(maps.Keys(used)) {
		u, has := used[node], nodes[node]
		if u.CPUMilli > has.GetCpuMilli() || u.MemoryBytes > has.GetMemoryBytes() {
			return violated(Capacity, "%s has %dm CPU and %d bytes, %dm and %d are bound to it",
				node, has.GetCpuMilli(), has.GetMemoryBytes(), u.CPUMilli, u.MemoryBytes)
		}
	}
	return nil
}
