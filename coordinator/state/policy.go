package state

import (
	"fmt"
	"maps"
	"math"
	"slices"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Policy is how the site hands out its nodes' room.
type Policy struct {
	// Pack fills nodes one after the other; else the least loaded comes first.
	Pack bool
	// CPUPercent, MemoryPercent and DiskPercent of what nodes have may be
	// promised; more than 100 is overcommitted.
	CPUPercent, MemoryPercent, DiskPercent int64
	// ReservedCPUMilli, ReservedMemoryBytes and ReservedDiskBytes of each node are
	// promised to nobody.
	ReservedCPUMilli, ReservedMemoryBytes, ReservedDiskBytes int64
}

// DefaultPolicy promises exactly what nodes have, and spreads the load.
func DefaultPolicy() Policy {
	return Policy{CPUPercent: 100, MemoryPercent: 100, DiskPercent: 100}
}

// Policy of the site, by its settings. What is missing or out of bounds is as by
// default.
func (v *View) Policy() Policy { return policyOf(settings.get(v.rows, manifest.SettingsName)) }

func policyOf(s *skerryv1.Settings) Policy {
	given, p := s.GetScheduling(), DefaultPolicy()
	p.Pack = given.GetStrategy() == manifest.Pack
	p.CPUPercent = promised(given.GetCpuPercent())
	p.MemoryPercent = promised(given.GetMemoryPercent())
	p.DiskPercent = promised(given.GetDiskPercent())
	if cpu, err := manifest.CPU(given.GetReservedCpu()); err == nil {
		p.ReservedCPUMilli = cpu
	}
	if memory, err := manifest.Memory(given.GetReservedMemory()); err == nil {
		p.ReservedMemoryBytes = memory
	}
	if disk, err := manifest.Memory(given.GetReservedDisk()); err == nil {
		p.ReservedDiskBytes = disk
	}
	return p
}

func promised(percent uint32) int64 {
	if percent < manifest.MinPromised || percent > manifest.MaxPromised {
		return 100
	}
	return int64(percent)
}

// Room for placements on a node of this capacity.
func (p Policy) Room(c *skerryv1.Capacity) *skerryv1.Capacity {
	if p == DefaultPolicy() {
		return c
	}
	return &skerryv1.Capacity{
		CpuMilli:    part(c.GetCpuMilli(), p.CPUPercent, p.ReservedCPUMilli),
		MemoryBytes: part(c.GetMemoryBytes(), p.MemoryPercent, p.ReservedMemoryBytes),
		DiskBytes:   part(c.GetDiskBytes(), p.DiskPercent, p.ReservedDiskBytes),
		Devices:     c.GetDevices(),
	}
}

// part of a whole after the reserve, in a way that cannot overflow.
func part(whole, percent, reserved int64) int64 {
	left := max(0, whole-reserved)
	if left > math.MaxInt64/max(1, percent) {
		return left / 100 * percent
	}
	return left * percent / 100
}

// devices in the order of their names.
func devices(asked map[string]uint32) ([]Device, error) {
	if len(asked) > manifest.MaxDeviceKinds {
		return nil, fmt.Errorf("%d kinds of devices, at most %d are taken", len(asked), manifest.MaxDeviceKinds)
	}
	var all []Device
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if name == "" || len(name) > maxLabel || asked[name] > manifest.MaxDevices {
			return nil, fmt.Errorf("%d of device %q are out of range", asked[name], bounded(name, maxLabel))
		}
		all = append(all, Device{name, int64(asked[name])})
	}
	return all, nil
}

// maxOf a device on one node.
func maxOf(name string) uint32 {
	for size := range manifest.HugePages { // the order does not matter
		if name == manifest.HugePageDevice(size) {
			return manifest.MaxHugePages
		}
	}
	return manifest.MaxDevices
}

// boundedDevices are those of a node that the state keeps: the first ones by
// name.
func boundedDevices(told map[string]uint32) map[string]uint32 {
	var kept map[string]uint32
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if name == "" || len(name) > maxLabel || told[name] == 0 || len(kept) == manifest.MaxDeviceKinds {
			continue
		}
		if kept == nil {
			kept = map[string]uint32{}
		}
		kept[name] = min(told[name], maxOf(name))
	}
	return kept
}
