package state

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// Bounds of what a node says of itself, and of what a machine names.
const (
	maxBridges  = 64
	maxFirmware = 8
	maxVMDisks  = 16
	maxVMNics   = 8
	// maxSnapshots of one machine or volume.
	maxSnapshots = 16
)

// VMLack is what a node may lack for a virtual machine.
type VMLack int

// What a node may lack.
const (
	LacksNothing VMLack = iota
	LacksLibvirt
	LacksAccel
	LacksFirmware
	LacksBridge
	LacksCPU
)

// WhyNoVM says why a node cannot run the virtual machine of a workload, whatever
// room it has; empty when it can, or when there is none.
func WhyNoVM(node *skerryv1.Node, w *skerryv1.Workload) (VMLack, string) {
	vm := w.GetVm()
	if vm == nil {
		return LacksNothing, ""
	}
	facts := node.GetVms()
	if facts == nil {
		return LacksLibvirt, "it runs no virtual machines: libvirt is not there or does not answer"
	}
	switch {
	case vm.GetAccel() == manifest.KVM && !facts.GetKvm():
		return LacksAccel, "it has no KVM that works"
	case vm.GetAccel() == manifest.TCG && !facts.GetEmulation():
		return LacksAccel, "it does not allow emulation"
	case !facts.GetKvm() && !facts.GetEmulation():
		return LacksAccel, "it has no KVM that works, and does not allow emulation"
	case vm.GetBoot().GetFirmware() == manifest.UEFI && !slices.Contains(facts.GetFirmware(), manifest.UEFI):
		return LacksFirmware, "it has no UEFI firmware"
	case vm.GetBoot().GetSecureBoot() && !slices.Contains(facts.GetFirmware(), manifest.SecureBoot):
		return LacksFirmware, "it has no UEFI firmware with secure boot"
	}
	if cpus, err := manifest.CPUSet(vm.GetCpuSet()); err == nil {
		if last := cpus[len(cpus)-1]; int64(last) >= node.GetCapacity().GetCpuMilli()/1000 {
			return LacksCPU, fmt.Sprintf("it has no CPU %d", last)
		}
	}
	for _, nic := range vm.GetNetworks() {
		if nic.GetBridge() != "" && !slices.Contains(facts.GetBridges(), nic.GetBridge()) {
			return LacksBridge, "it has no bridge " + nic.GetBridge()
		}
	}
	return LacksNothing, ""
}

// vmNeeds is what a virtual machine takes on its node: what the guest is given, and
// what QEMU needs beside it.
func vmNeeds(w *skerryv1.Workload) (Needs, error) {
	vm := w.GetVm()
	cpu, memory, err := manifest.VMSize(vm)
	if err != nil {
		return Needs{}, err
	}
	if cpu < 1 || cpu > maxCPUMilli || memory < 0 || memory > maxMemoryBytes {
		return Needs{}, fmt.Errorf("%d thousandths of a core and %d bytes are out of range", cpu, memory)
	}
	needs := Needs{CPUMilli: cpu, MemoryBytes: manifest.VMOverhead(vm, memory)}
	switch page := manifest.HugePages[vm.GetHugepages()]; {
	case vm.GetHugepages() == "":
		needs.MemoryBytes += memory
	case page == 0 || memory%page != 0:
		return Needs{}, fmt.Errorf("%d bytes are not on huge pages of %q", memory, bounded(vm.GetHugepages(), maxName))
	default:
		needs.HugeBytes = memory
		needs.Devices = []Device{{manifest.HugePageDevice(vm.GetHugepages()), memory / page}}
	}
	if size := vm.GetDiskSize(); size != "" {
		if needs.DiskBytes, err = manifest.Memory(size); err != nil || needs.DiskBytes > manifest.MaxVolumeBytes {
			return Needs{}, fmt.Errorf("%q is no size of a disk", bounded(size, maxName))
		}
	}
	return needs, nil
}

// checkVM refuses what the controllers could not live with.
func checkVM(invalid func(field, format string, args ...any) error, w *skerryv1.Workload) error {
	vm := w.GetVm()
	switch {
	case w.GetContainer() != nil:
		return invalid("vm", "a workload runs containers or virtual machines, not both")
	case vm.GetImage() == "":
		return invalid("vm.image", "it is missing")
	case !goodCPUSet(vm.GetCpuSet()):
		return invalid("vm.cpuSet", "these are no CPUs of a node")
	case len(vm.GetDisks()) > maxVMDisks || len(vm.GetNetworks()) > maxVMNics:
		return invalid("vm", "%d disks and %d network cards are too many", len(vm.GetDisks()), len(vm.GetNetworks()))
	case w.GetIdentity():
		return invalid("identity", "virtual machines have none yet")
	case len(vm.GetDisks()) > 0 && (w.GetReplicas() > 1 || w.GetPerNode() || w.GetRunToCompletion() != nil):
		return invalid("vm.disks", "a volume is used by one placement at a time")
	case len(vm.GetDisks()) > 0 && !IsStay(w):
		return invalid("partition.mode", "what has volumes stays on its node")
	}
	return nil
}

func goodCPUSet(text string) bool {
	_, err := manifest.CPUSet(text)
	return text == "" || err == nil
}

// boundedVMs is what a node says that it can do for virtual machines.
func boundedVMs(given *skerryv1.VmFacts) *skerryv1.VmFacts {
	if given == nil {
		return nil
	}
	facts := proto.CloneOf(given)
	facts.Bridges = boundedLabels(given.GetBridges(), maxBridges)
	facts.Firmware = boundedLabels(given.GetFirmware(), maxFirmware)
	return facts
}

// boundedSnapshots are what a node says that it keeps of disks.
func boundedSnapshots(given []*skerryv1.Snapshot) []*skerryv1.Snapshot {
	var all []*skerryv1.Snapshot
	for _, s := range given[:min(len(given), maxSnapshots)] {
		all = append(all, &skerryv1.Snapshot{Name: bounded(s.GetName(), maxName), Created: s.GetCreated(), Used: max(0, s.GetUsed()), Quiet: s.GetQuiet()})
	}
	return all
}

func boundedLabels(given []string, limit int) []string {
	var texts []string
	for _, text := range given[:min(len(given), limit)] {
		texts = append(texts, bounded(text, maxLabel))
	}
	return texts
}

// inPlace tells whether a virtual machine is changed where it is: everything may
// change but its image, which is what its root disk began with.
func inPlace(present, next *skerryv1.Workload) bool {
	return present.GetVm() != nil && next.GetVm() != nil && present.GetVm().GetImage() == next.GetVm().GetImage()
}

// plugs tells whether machines only get or give up disks, or the last of their
// network cards: their node does that while they run. The address of a card may
// hang on its place, so one before others does not go that way.
func plugs(present, next *skerryv1.Workload) bool {
	was, is := proto.CloneOf(present), proto.CloneOf(next)
	cards := min(len(was.GetVm().GetNetworks()), len(is.GetVm().GetNetworks()))
	for i := range cards {
		if !proto.Equal(was.GetVm().GetNetworks()[i], is.GetVm().GetNetworks()[i]) {
			return false
		}
	}
	for _, disk := range is.GetVm().GetDisks() {
		at := slices.IndexFunc(was.GetVm().GetDisks(), func(d *skerryv1.Disk) bool { return d.GetName() == disk.GetName() })
		if at >= 0 && !proto.Equal(was.GetVm().GetDisks()[at], disk) {
			return false
		}
	}
	was.Vm.Disks, is.Vm.Disks, was.Vm.Networks, is.Vm.Networks = nil, nil, nil, nil
	return SameTemplate(was, is)
}

// fitsInPlace refuses a change of virtual machines after which they could not run
// where they are.
func (x *tx) fitsInPlace(next *skerryv1.Workload) error {
	needs, err := NeedsOf(next)
	if next.GetVm() == nil || err != nil {
		return nil // checked elsewhere
	}
	policy := policyOf(settings.get(x.rows, manifest.SettingsName))
	for _, p := range placements.by(x.rows, byWorkload, key(next.GetProject(), next.GetName())) {
		node := nodes.get(x.rows, p.GetNode())
		if node == nil || !inPlace(p.GetSpec(), next) || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue
		}
		about := "Workload/" + next.GetName()
		if copying(p) && !slices.EqualFunc(p.GetSpec().GetVm().GetDisks(), next.GetVm().GetDisks(), func(a, b *skerryv1.Disk) bool { return proto.Equal(a, b) }) {
			return problem.New(problem.Conflict, about, "%s is on its way to %s, with the disks that it has", p.GetName(), otherOf(p)).
				WithField("vm.disks").WithHint("wait until it is there")
		}
		if lack, why := WhyNoVM(node, next); lack != LacksNothing && node.GetState() == skerryv1.NodeState_NODE_STATE_READY {
			return problem.New(problem.Conflict, about, "%s stays on node %s, and there: %s", p.GetName(), node.GetName(), why)
		}
		if why := x.whyNoVolume(node.GetName(), next); why != "" {
			return problem.New(problem.Conflict, about, "%s stays on node %s, and there: %s", p.GetName(), node.GetName(), why)
		}
		before, err := NeedsOf(p.GetSpec())
		must(err) // it was read when the placement was made
		others := *x.usageOf(node.GetName())
		others.Devices = maps.Clone(others.Devices)
		if p.GetEnded() == nil {
			others.Remove(p.GetName(), before)
		}
		grows := needs.CPUMilli > before.CPUMilli || needs.MemoryBytes > before.MemoryBytes || needs.DiskBytes > before.DiskBytes ||
			!slices.Equal(needs.Devices, before.Devices)
		if grows && !others.Fits(policy.Room(node.GetCapacity()), needs) {
			return problem.New(problem.Exhausted, about, "%s stays on node %s, which has no room for so much", p.GetName(), node.GetName()).
				WithHint("skerry describe node %s shows what is there", node.GetName())
		}
	}
	return nil
}
