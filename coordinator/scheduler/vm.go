package scheduler

import (
	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// vmFilters are those for virtual machines; none for containers.
func (s *site) vmFilters(spec *skerryv1.Workload) []filter {
	if spec.GetVm() == nil {
		return nil
	}
	return []filter{vmFilter{spec, state.LacksLibvirt}, vmFilter{spec, state.LacksAccel}, vmFilter{spec, state.LacksFirmware}, vmFilter{spec, state.LacksBridge}, vmFilter{spec, state.LacksCPU}}
}

// volumeFilters are those for what has volumes.
func (s *site) volumeFilters(spec *skerryv1.Workload) []filter {
	if len(manifest.VolumesOf(spec)) == 0 {
		return nil
	}
	return []filter{volumeFilter{s, spec}}
}

// volumeKey is equal for workloads with the same volumes.
func volumeKey(spec *skerryv1.Workload) string {
	key := ""
	for _, use := range manifest.VolumesOf(spec) {
		key += " volume " + spec.GetProject() + "/" + use.Volume
	}
	return key
}

// vmKey is equal for workloads that ask the same of a node but for its room.
func vmKey(spec *skerryv1.Workload) string {
	vm := spec.GetVm()
	if vm == nil {
		return ""
	}
	asked := &skerryv1.VirtualMachine{Accel: vm.GetAccel(), Networks: vm.GetNetworks(), Boot: vm.GetBoot(), CpuSet: vm.GetCpuSet()}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(asked)
	if err != nil {
		panic("scheduler: " + err.Error())
	}
	return "vm " + spec.GetProject() + " " + string(text)
}

// vmFilter wants nodes that do not lack one thing for the virtual machine.
type vmFilter struct {
	spec *skerryv1.Workload
	lack state.VMLack
}

func (f vmFilter) fits(n *node) bool {
	lack, _ := state.WhyNoVM(n.Node, f.spec)
	return lack != f.lack
}

func (f vmFilter) reason(n *node) string {
	_, why := state.WhyNoVM(n.Node, f.spec)
	return why
}

func (f vmFilter) explain(nodes int) string {
	firmware := "without UEFI firmware"
	if f.spec.GetVm().GetBoot().GetSecureBoot() {
		firmware += " with secure boot"
	}
	return nodesAre(nodes) + " " + map[state.VMLack]string{
		state.LacksLibvirt: "without libvirt", state.LacksAccel: "without KVM or emulation as asked for",
		state.LacksFirmware: firmware, state.LacksBridge: "without the bridge", state.LacksCPU: "without all of the CPUs",
	}[f.lack]
}

// volumeFilter wants the node that has the volumes.
type volumeFilter struct {
	site *site
	spec *skerryv1.Workload
}

func (f volumeFilter) fits(n *node) bool { return f.reason(n) == "" }

func (f volumeFilter) reason(n *node) string {
	return state.WhyNoVolume(n.GetName(), f.spec, func(volume string) *skerryv1.Volume {
		return f.site.volumes[name{f.spec.GetProject(), volume}]
	})
}

func (volumeFilter) explain(nodes int) string { return nodesAre(nodes) + " without its volumes" }
