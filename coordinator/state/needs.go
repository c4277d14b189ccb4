package state

import (
	"fmt"
	"strconv"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Most that one placement may ask for.
const (
	maxCPUMilli    = 1024 * 1000
	maxMemoryBytes = 16 << 40
	maxPorts       = 64
)

// Needs is what one placement takes on its node.
type Needs struct {
	CPUMilli, MemoryBytes int64
	// HostPorts as `8080/tcp`.
	HostPorts []string
}

// NeedsOf a placement of the workload; an error when its quantities make no
// sense.
func NeedsOf(w *skerryv1.Workload) (Needs, error) {
	c := w.GetContainer()
	cpu, err := manifest.CPU(c.GetResources().GetCpu())
	if err != nil {
		return Needs{}, err
	}
	memory, err := manifest.Memory(c.GetResources().GetMemory())
	if err != nil {
		return Needs{}, err
	}
	if cpu < 0 || cpu > maxCPUMilli || memory < 0 || memory > maxMemoryBytes {
		return Needs{}, fmt.Errorf("%d thousandths of a core and %d bytes are out of range", cpu, memory)
	}
	needs := Needs{CPUMilli: cpu, MemoryBytes: memory}
	if len(c.GetPorts()) > maxPorts {
		return Needs{}, fmt.Errorf("%d ports, at most %d are taken", len(c.GetPorts()), maxPorts)
	}
	for _, port := range c.GetPorts() {
		if number := hostPort(c, port); number != 0 {
			needs.HostPorts = append(needs.HostPorts, strconv.Itoa(int(number))+"/"+port.GetProtocol())
		}
	}
	return needs, nil
}

// hostPort that a port takes on the node: with the node's own network, itself.
func hostPort(c *skerryv1.Container, port *skerryv1.Port) uint32 {
	if c.GetNetwork() == "host" {
		return port.GetPort()
	}
	return port.GetHostPort()
}

// Usage of one node by what is bound to it.
type Usage struct {
	CPUMilli, MemoryBytes int64
	// Ports maps a host port to the placement that has it.
	Ports map[string]string
}

// UsageOf what is bound to one node. What is to be stopped counts until it is
// gone.
func UsageOf(bound []*skerryv1.Placement) *Usage {
	u := &Usage{Ports: map[string]string{}}
	for _, p := range bound {
		// The quantities were read when the placement was made.
		if needs, err := NeedsOf(p.GetSpec()); err == nil {
			u.Add(p.GetName(), needs)
		}
	}
	return u
}

// Add a placement.
func (u *Usage) Add(placement string, needs Needs) {
	u.CPUMilli += needs.CPUMilli
	u.MemoryBytes += needs.MemoryBytes
	for _, port := range needs.HostPorts {
		u.Ports[port] = placement
	}
}

// Fits tells whether one more placement fits a node of this capacity.
func (u *Usage) Fits(capacity *skerryv1.Capacity, needs Needs) bool {
	for _, port := range needs.HostPorts {
		if _, taken := u.Ports[port]; taken {
			return false
		}
	}
	return u.CPUMilli+needs.CPUMilli <= capacity.GetCpuMilli() && u.MemoryBytes+needs.MemoryBytes <= capacity.GetMemoryBytes()
}
