package scheduler

import (
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func runsMachines(change ...func(*skerryv1.VmFacts)) func(*skerryv1.Node) {
	return func(n *skerryv1.Node) {
		n.Vms = &skerryv1.VmFacts{Kvm: true, Emulation: true, Firmware: []string{"bios", "uefi"}, Bridges: []string{"br-plant"}}
		for _, c := range change {
			c(n.Vms)
		}
	}
}

// vmTemplate asks for everything that a node may lack.
func vmTemplate(change ...func(*skerryv1.VirtualMachine)) *skerryv1.Workload {
	w := template("vm", 1)
	w.Container = nil
	w.Partition = &skerryv1.Partition{Mode: "stay"}
	w.Vm = &skerryv1.VirtualMachine{
		Image: "disk", Cpu: 1, Memory: "512Mi", Accel: "auto", Boot: &skerryv1.Boot{Firmware: "uefi"}, Networks: []*skerryv1.Nic{{Bridge: "br-plant"}},
	}
	for _, c := range change {
		c(w.Vm)
	}
	return w
}

func onHugePages(v *skerryv1.VirtualMachine) { v.Hugepages = "2Mi" }

func hugePages(count uint32) func(*skerryv1.Node) {
	return func(n *skerryv1.Node) { n.Capacity.Devices = map[string]uint32{"hugepages-2Mi": count} }
}

func machineSite(nodes ...*skerryv1.Node) Input {
	in := siteOf(nodes...)
	disk := &skerryv1.Image{Name: "disk", DiskBytes: 1 << 30, Nodes: in.Images[0].GetNodes()}
	in.Images = append(in.Images, disk)
	return in
}

func TestWhatANodeLacksForAVirtualMachine(t *testing.T) {
	for name, test := range map[string]struct {
		node *skerryv1.Node
		w    *skerryv1.Workload
		want string
	}{
		"nothing":  {machine("n1", "a", runsMachines()), vmTemplate(), "vm-1:n1"},
		"libvirt":  {machine("n1", "a"), vmTemplate(), "1 node without libvirt"},
		"a bridge": {machine("n1", "a", runsMachines(func(f *skerryv1.VmFacts) { f.Bridges = nil })), vmTemplate(), "1 node without the bridge"},
		"firmware": {machine("n1", "a", runsMachines(func(f *skerryv1.VmFacts) { f.Firmware = []string{"bios"} })), vmTemplate(), "1 node without UEFI firmware"},
		"KVM": {machine("n1", "a", runsMachines(func(f *skerryv1.VmFacts) { f.Kvm = false })), vmTemplate(func(v *skerryv1.VirtualMachine) { v.Accel = "kvm" }),
			"1 node without KVM or emulation as asked for"},
		"KVM, which emulation makes up for": {machine("n1", "a", runsMachines(func(f *skerryv1.VmFacts) { f.Kvm = false })), vmTemplate(), "vm-1:n1"},
		"leave to emulate":                  {machine("n1", "a", runsMachines(func(f *skerryv1.VmFacts) { f.Kvm, f.Emulation = false, false })), vmTemplate(), "1 node without KVM or emulation"},
		"secure boot": {machine("n1", "a", runsMachines()), vmTemplate(func(v *skerryv1.VirtualMachine) { v.Boot.SecureBoot = true }),
			"1 node without UEFI firmware with secure boot"},
		"a CPU":                            {machine("n1", "a", runsMachines()), vmTemplate(func(v *skerryv1.VirtualMachine) { v.CpuSet = "0-1,64" }), "1 node without all of the CPUs"},
		"huge pages":                       {machine("n1", "a", runsMachines()), vmTemplate(onHugePages), "1 node without 256 of device hugepages-2Mi free"},
		"some huge pages":                  {machine("n1", "a", runsMachines(), hugePages(255)), vmTemplate(onHugePages), "1 node without 256 of device hugepages-2Mi free"},
		"nothing, with pages":              {machine("n1", "a", runsMachines(), hugePages(256)), vmTemplate(onHugePages), "vm-1:n1"},
		"memory for QEMU beside the guest": {machine("n1", "a", runsMachines()), vmTemplate(func(v *skerryv1.VirtualMachine) { v.Memory = "1000Mi" }), "memory free"},
	} {
		if got := say(pending(machineSite(test.node), test.w, 1)); !strings.Contains(got, test.want) {
			t.Errorf("%s: the scheduler says %q, want %q", name, got, test.want)
		}
	}
}

func TestImagesOfTheWrongKind(t *testing.T) {
	w := vmTemplate()
	w.Vm.Image = "web:1"
	if got := say(pending(machineSite(machine("n1", "a", runsMachines())), w, 1)); !strings.Contains(got, "image web:1 is one of a container, not of a disk") {
		t.Errorf("a machine of a container's image: %q", got)
	}
	if got := say(pending(machineSite(machine("n1", "a", runsMachines())), template("web", 1, runs("disk")), 1)); !strings.Contains(got, "image disk is one of a disk, not of a container") {
		t.Errorf("a container of a disk's image: %q", got)
	}
}

func TestAVirtualMachineGoesWhereItsVolumeIs(t *testing.T) {
	w := vmTemplate(func(v *skerryv1.VirtualMachine) { v.Disks = []*skerryv1.Disk{{Name: "data", Volume: "data"}} })
	in := pending(machineSite(machine("n1", "a", runsMachines()), machine("n2", "b", runsMachines()), machine("n3", "c", runsMachines())), w, 1)
	volume := &skerryv1.Volume{Name: "data", Project: w.GetProject(), Status: &skerryv1.VolumeStatus{}}
	if got := say(in); !strings.Contains(got, "3 nodes without its volumes") {
		t.Errorf("without its volume: %q", got)
	}
	in.Volumes = []*skerryv1.Volume{volume}
	if got := say(in); !strings.HasPrefix(got, "vm-1:") {
		t.Errorf("while its volume is nowhere: %q", got)
	}
	volume.Node = "n2"
	if got := say(in); got != "vm-1:n2" {
		t.Errorf("with its volume on n2: %q", got)
	}
	in.Nodes[1].State = skerryv1.NodeState_NODE_STATE_LOST
	plan := Schedule(in)
	if len(plan.Postpone) != 1 {
		t.Fatalf("while n2 is lost: %q", say(in))
	}
	for _, v := range plan.Postpone[0].GetDecision().GetVerdicts() {
		if v.GetNode() == "n1" && !strings.Contains(strings.Join(v.GetRuledOut(), "; "), "volume data is on node n2") {
			t.Errorf("against n1 speaks %v", v.GetRuledOut())
		}
	}
}

func TestAContainerGoesWhereItsVolumesAre(t *testing.T) {
	w := template("db", 1)
	w.Container.Mounts = []*skerryv1.Mount{{Target: "/a", Volume: "a"}, {Target: "/b", Volume: "b"}}
	for name, test := range map[string]struct {
		a, b string
		want string
	}{
		"both nowhere":       {"", "", "db-1:"},
		"one of them bound":  {"n2", "", "db-1:n2"},
		"both on one node":   {"n3", "n3", "db-1:n3"},
		"on different nodes": {"n1", "n2", "3 nodes without its volumes"},
	} {
		in := pending(siteOf(machine("n1", "a"), machine("n2", "b"), machine("n3", "c")), w, 1)
		for volume, node := range map[string]string{"a": test.a, "b": test.b} {
			in.Volumes = append(in.Volumes, &skerryv1.Volume{Name: volume, Project: w.GetProject(), Node: node, Status: &skerryv1.VolumeStatus{}})
		}
		if got := say(in); !strings.Contains(got, test.want) {
			t.Errorf("%s: the scheduler says %q, want %q", name, got, test.want)
		}
	}
}
