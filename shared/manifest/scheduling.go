package manifest

import (
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Pack is the strategy that fills nodes one after the other; Spread is the other
// one.
const (
	Pack   = "pack"
	Spread = "spread"
)

// Bounds of how much nodes promise, in percent of what they have.
const (
	MinPromised = 10
	MaxPromised = 10000
)

func (v *validator) scheduling(s *skerryv1.Scheduling) {
	if s.GetStrategy() != "" {
		v.oneOf("scheduling.strategy", s.GetStrategy(), Spread, Pack)
	}
	v.promised("scheduling.cpuPercent", s.GetCpuPercent())
	v.promised("scheduling.memoryPercent", s.GetMemoryPercent())
	v.promised("scheduling.diskPercent", s.GetDiskPercent())
	if _, err := CPU(s.GetReservedCpu()); s.GetReservedCpu() != "" && err != nil {
		v.fail("scheduling.reservedCpu", "%w", err)
	}
	v.reserved("scheduling.reservedMemory", s.GetReservedMemory())
	v.reserved("scheduling.reservedDisk", s.GetReservedDisk())
}

func (v *validator) reserved(field, text string) {
	if _, err := Memory(text); text != "" && err != nil {
		v.fail(field, "%w", err)
	}
}

func (v *validator) promised(field string, percent uint32) {
	if percent != 0 {
		v.between(field, percent, MinPromised, MaxPromised)
	}
}
