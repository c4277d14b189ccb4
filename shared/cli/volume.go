package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func (r *reading) volumeTable(resources []*skerryv1.Resource) *table {
	t := newTable("NAME", "PROJECT", "SIZE", "USED", "NODE", "STATE", "AGE")
	for _, resource := range resources {
		v := resource.GetVolume()
		used := "-"
		if v.GetStatus().GetMade() {
			used = size(v.GetStatus().GetUsed())
		}
		t.row(v.GetName(), v.GetProject(), orDash(v.GetSize()), used, orDash(v.GetNode()), volumeState(v), r.since(v.GetCreated().AsTime()))
	}
	return t
}

func volumeState(v *skerryv1.Volume) string {
	switch {
	case v.GetStatus().GetDeleting():
		return "deleting"
	case v.GetPath() != "":
		return "at " + v.GetPath()
	case v.GetStatus().GetComingTo() != "":
		return "made, on its way to " + v.GetStatus().GetComingTo()
	case v.GetStatus().GetLeftOn() != "":
		return "made, old copy on " + v.GetStatus().GetLeftOn()
	case v.GetStatus().GetMade():
		return "made"
	case v.GetNode() != "":
		return "bound"
	default:
		return "waits for its first use"
	}
}

// vmTemplate adds what each virtual machine of a workload is.
func vmTemplate(f *fields, w *skerryv1.Workload) {
	vm := w.GetVm()
	f.add("Image", vm.GetImage())
	f.add("Machine", sentence(", ", fmt.Sprintf("%d CPU", vm.GetCpu()), vm.GetMemory(), named("root disk", vm.GetDiskSize()),
		named("accel", vm.GetAccel()), firmware(vm.GetBoot()),
		named("huge pages of", vm.GetHugepages()), named("on the CPUs", vm.GetCpuSet()), named("kernel", vm.GetBoot().GetKernel())))
	var disks, cards []string
	for _, d := range vm.GetDisks() {
		disks = append(disks, fmt.Sprintf("%s from volume %s", d.GetName(), d.GetVolume()))
	}
	for _, n := range vm.GetNetworks() {
		if n.GetNat() {
			cards = append(cards, "nat")
		} else {
			cards = append(cards, "bridge "+n.GetBridge())
		}
	}
	f.add("Disks", strings.Join(disks, ", "))
	f.add("Network", strings.Join(cards, ", "))
	if vm.GetCloudInit() != nil {
		f.add("Cloud-init", sentence(", ", named("host", vm.GetCloudInit().GetHostname()), plural(len(vm.GetCloudInit().GetSshKeys()), "key"),
			plural(len(vm.GetCloudInit().GetUserData()), "byte")+" of user data"))
	}
	f.add("Health", health(w.GetHealth()))
	f.add("Place", place(w.GetPlace()))
}

func firmware(b *skerryv1.Boot) string {
	if b.GetSecureBoot() {
		return b.GetFirmware() + " with secure boot"
	}
	return b.GetFirmware()
}

// devices of a node, by name.
func devices(all map[string]uint32) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		texts = append(texts, fmt.Sprintf("%s: %d", name, all[name]))
	}
	return strings.Join(texts, ", ")
}

// power is what operators want of a virtual machine; empty when it is simply on.
func power(p *skerryv1.Placement) string {
	switch p.GetPower().GetState() {
	case skerryv1.PowerState_POWER_STATE_OFF:
		return "off: skerry vm start " + p.GetName()
	case skerryv1.PowerState_POWER_STATE_PAUSED:
		return "paused: skerry vm resume " + p.GetName()
	default:
		return ""
	}
}

// vms is what a node can do for virtual machines.
func vms(n *skerryv1.Node) string {
	facts := n.GetVms()
	if facts == nil {
		return "" // none
	}
	runs := manifest.KVM
	if !facts.GetKvm() {
		runs = "no KVM"
	}
	emulates := "no emulation"
	if facts.GetEmulation() {
		emulates = "emulation"
	}
	return sentence(", ", runs, emulates, strings.Join(facts.GetFirmware(), " "), named("bridges", strings.Join(facts.GetBridges(), " ")))
}
