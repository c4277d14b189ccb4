package scheduler

import (
	"fmt"

	"skerry.dev/coordinator/state"
)

// cpuFilter wants nodes with enough CPU.
type cpuFilter struct{ needs state.Needs }

func (n *node) freeCPU() int64 { return n.room.GetCpuMilli() - n.usage.CPUMilli }

func (f cpuFilter) fits(n *node) bool { return f.needs.CPUMilli <= n.freeCPU() }

func (f cpuFilter) reason(n *node) string {
	return fmt.Sprintf("%dm CPU asked for, %dm of %dm free", f.needs.CPUMilli, n.freeCPU(), n.room.GetCpuMilli())
}

func (f cpuFilter) explain(nodes int) string {
	return fmt.Sprintf("%s without %dm CPU free", nodesAre(nodes), f.needs.CPUMilli)
}

// memoryFilter wants nodes with enough memory.
type memoryFilter struct{ needs state.Needs }

func (n *node) freeMemory() int64 { return n.room.GetMemoryBytes() - n.usage.MemoryBytes }

func (f memoryFilter) fits(n *node) bool { return f.needs.MemoryBytes <= n.freeMemory() }

func (f memoryFilter) reason(n *node) string {
	return fmt.Sprintf("%s memory asked for, %s of %s free", size(f.needs.MemoryBytes), size(n.freeMemory()), size(n.room.GetMemoryBytes()))
}

func (f memoryFilter) explain(nodes int) string {
	return fmt.Sprintf("%s without %s memory free", nodesAre(nodes), size(f.needs.MemoryBytes))
}

// diskFilter wants nodes with enough room on their disk.
type diskFilter struct{ needs state.Needs }

func (n *node) freeDisk() int64 { return n.room.GetDiskBytes() - n.usage.DiskBytes }

func (f diskFilter) fits(n *node) bool { return f.needs.DiskBytes <= n.freeDisk() }

func (f diskFilter) reason(n *node) string {
	return fmt.Sprintf("%s disk asked for, %s of %s free", size(f.needs.DiskBytes), size(n.freeDisk()), size(n.room.GetDiskBytes()))
}

func (f diskFilter) explain(nodes int) string {
	return fmt.Sprintf("%s without %s disk free", nodesAre(nodes), size(f.needs.DiskBytes))
}

// deviceFilter wants nodes with enough devices of one name.
type deviceFilter struct{ device state.Device }

func (n *node) freeDevices(name string) int64 {
	return int64(n.room.GetDevices()[name]) - n.usage.Devices[name]
}

func (f deviceFilter) fits(n *node) bool { return f.device.Count <= n.freeDevices(f.device.Name) }

func (f deviceFilter) reason(n *node) string {
	return fmt.Sprintf("%d of device %s asked for, %d of %d free", f.device.Count, f.device.Name,
		n.freeDevices(f.device.Name), n.room.GetDevices()[f.device.Name])
}

func (f deviceFilter) explain(nodes int) string {
	return fmt.Sprintf("%s without %d of device %s free", nodesAre(nodes), f.device.Count, f.device.Name)
}

// size as people read it, and exact where two of them are compared: 512 MiB,
// 3600 MiB, 15 TiB; only of much that is not even it gives a tenth: 131.5 GiB.
func size(bytes int64) string {
	const units = "MGTPE"
	value, unit := bytes>>20, 0
	for value >= 1024 && value%1024 == 0 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if value < 100<<10 {
		return fmt.Sprintf("%d %ciB", value, units[unit])
	}
	return fmt.Sprintf("%.1f %ciB", float64(value)/1024, units[unit+1])
}
