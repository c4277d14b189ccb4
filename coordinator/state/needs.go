package state

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"

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
	CPUMilli, MemoryBytes, DiskBytes int64
	// HugeBytes of memory are beside that: on huge pages, which are devices.
	HugeBytes int64
	// Devices by name, in its order.
	Devices   []Device
	HostPorts []HostPort
}

// Device is a number of countable things.
type Device struct {
	Name  string
	Count int64
}

// HostPort is a port of the node that leads to a container, or a range of which
// one does.
type HostPort struct {
	First, Last uint32
	Protocol    string
}

func (h HostPort) String() string {
	if h.First == h.Last {
		return portKey(h.First, h.Protocol)
	}
	return fmt.Sprintf("%d-%d/%s", h.First, h.Last, h.Protocol)
}

// portKey is `8080/tcp`.
func portKey(number uint32, protocol string) string {
	return strconv.Itoa(int(number)) + "/" + protocol
}

// NeedsOf a placement of the workload; an error when its quantities make no
// sense.
func NeedsOf(w *skerryv1.Workload) (Needs, error) {
	if w.GetVm() != nil {
		return vmNeeds(w)
	}
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
	if disk := c.GetResources().GetDisk(); disk != "" {
		if needs.DiskBytes, err = manifest.Memory(disk); err != nil || needs.DiskBytes > manifest.MaxDisk {
			return Needs{}, fmt.Errorf("%q is no amount of disk", bounded(disk, maxName))
		}
	}
	if needs.Devices, err = devices(c.GetResources().GetDevices()); err != nil {
		return Needs{}, err
	}
	if len(c.GetPorts()) > maxPorts {
		return Needs{}, fmt.Errorf("%d ports, at most %d are taken", len(c.GetPorts()), maxPorts)
	}
	for _, port := range c.GetPorts() {
		if number := hostPort(c, port); number != 0 {
			needs.HostPorts = append(needs.HostPorts, HostPort{number, max(number, port.GetHostPortLast()), port.GetProtocol()})
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
	CPUMilli, MemoryBytes, DiskBytes int64
	// Devices that are in use, by name; nil while none are.
	Devices map[string]int64
	// Ports maps a host port to the placement that has it.
	Ports map[string]string
}

// UsageOf what is bound to one node. What is to be stopped counts until it is
// gone.
func UsageOf(bound []*skerryv1.Placement) *Usage {
	u := &Usage{Ports: map[string]string{}}
	for _, p := range bound {
		if p.GetEnded() != nil {
			continue // it takes nothing any more
		}
		// The quantities were read when the placement was made.
		if needs, err := NeedsOf(p.GetSpec()); err == nil {
			u.Add(p.GetName(), needs)
		}
	}
	return u
}

// AgentItself has the ports of the node's own agent.
const AgentItself = "skerry itself"

// Reserve the ports on which the node's own agent listens: a container that
// publishes one of them would take over what other nodes say to the agent.
func (u *Usage) Reserve(node *skerryv1.Node) *Usage {
	for _, own := range []struct{ address, protocol string }{
		{node.GetAddress(), "tcp"}, {node.GetGossipAddress(), "tcp"}, {node.GetGossipAddress(), "udp"},
	} {
		if _, port, err := net.SplitHostPort(own.address); err == nil {
			u.Ports[port+"/"+own.protocol] = AgentItself
		}
	}
	return u
}

// Add a placement; where it may publish one of several ports, the first that is
// free.
func (u *Usage) Add(placement string, needs Needs) {
	u.CPUMilli += needs.CPUMilli
	u.MemoryBytes += needs.MemoryBytes
	u.DiskBytes += needs.DiskBytes
	for _, d := range needs.Devices {
		if u.Devices == nil {
			u.Devices = map[string]int64{}
		}
		u.Devices[d.Name] += d.Count
	}
	for i, number := range u.choose(needs.HostPorts) {
		u.Ports[portKey(number, needs.HostPorts[i].Protocol)] = placement
	}
}

// Remove a placement that was added, with the ports that it has.
func (u *Usage) Remove(placement string, needs Needs) {
	u.CPUMilli -= needs.CPUMilli
	u.MemoryBytes -= needs.MemoryBytes
	u.DiskBytes -= needs.DiskBytes
	for _, d := range needs.Devices {
		u.Devices[d.Name] -= d.Count
	}
	for _, port := range needs.HostPorts {
		for number := port.First; number <= port.Last; number++ {
			if key := portKey(number, port.Protocol); u.Ports[key] == placement {
				delete(u.Ports, key)
				break
			}
		}
	}
}

// choose the first free port of each range; of one that has none, its first.
func (u *Usage) choose(ports []HostPort) []uint32 {
	chosen := make([]uint32, 0, len(ports))
	for _, port := range ports {
		number := port.First
		for ; number <= port.Last; number++ {
			if _, taken := u.Ports[portKey(number, port.Protocol)]; !taken && !slices.Contains(chosen, number) {
				break
			}
		}
		if number > port.Last {
			number = port.First
		}
		chosen = append(chosen, number)
	}
	return chosen
}

// Taken returns the first of the ports that cannot be published here, and the
// placement that has it.
func (u *Usage) Taken(ports []HostPort) (port HostPort, holder string, taken bool) {
	for i, number := range u.choose(ports) {
		if holder, taken := u.Ports[portKey(number, ports[i].Protocol)]; taken {
			return ports[i], holder, true
		}
	}
	return HostPort{}, "", false
}

// published is the template with the ports that a placement gets on this node.
func (u *Usage) published(w *skerryv1.Workload, ports []HostPort) *skerryv1.Workload {
	if !slices.ContainsFunc(ports, func(p HostPort) bool { return p.First != p.Last }) {
		return w
	}
	settled := proto.CloneOf(w)
	chosen := u.choose(ports)
	for _, port := range settled.GetContainer().GetPorts() {
		if hostPort(settled.GetContainer(), port) == 0 {
			continue
		}
		port.HostPort, port.HostPortLast = chosen[0], 0
		chosen = chosen[1:]
	}
	return settled
}

// Fits tells whether one more placement fits a node that has this room.
func (u *Usage) Fits(room *skerryv1.Capacity, needs Needs) bool {
	for _, d := range needs.Devices {
		if u.Devices[d.Name]+d.Count > int64(room.GetDevices()[d.Name]) {
			return false
		}
	}
	if _, _, taken := u.Taken(needs.HostPorts); taken {
		return false
	}
	return u.CPUMilli+needs.CPUMilli <= room.GetCpuMilli() && u.MemoryBytes+needs.MemoryBytes <= room.GetMemoryBytes() &&
		(needs.DiskBytes == 0 || u.DiskBytes+needs.DiskBytes <= room.GetDiskBytes())
}

// withPorts is the template with the host ports of one that was settled before;
// both have the same ports.
func withPorts(w, settled *skerryv1.Workload) *skerryv1.Workload {
	w = proto.CloneOf(w)
	for i, port := range settled.GetContainer().GetPorts() {
		next := w.GetContainer().GetPorts()[i]
		next.HostPort, next.HostPortLast = port.GetHostPort(), port.GetHostPortLast()
	}
	return w
}
