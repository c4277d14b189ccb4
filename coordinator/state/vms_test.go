package state

import (
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func aVM(change ...func(*skerryv1.Workload)) *skerryv1.Workload {
	w := testWorkload("vm", 1, stays)
	w.Container = nil
	w.Vm = &skerryv1.VirtualMachine{Image: "disk", Cpu: 1, Memory: "512Mi", Accel: "auto", Boot: &skerryv1.Boot{Firmware: "bios"}}
	for _, c := range change {
		c(w)
	}
	return w
}

func withVolume(w *skerryv1.Workload) {
	w.Vm.Disks = []*skerryv1.Disk{{Name: "data", Volume: "data", Size: "1Gi"}}
}

// withMachines is a site of two nodes that run virtual machines.
func withMachines(t *testing.T) *site {
	t.Helper()
	s := newSite(t, 2)
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Name: "disk", Digest: testDigest("disk"), Size: 10, DiskBytes: 1 << 30, Nodes: []string{"n1"},
	}}}})
	for n, name := range []string{"n1", "n2"} {
		s.says(name, machineFacts(n+1, nil))
	}
	return s
}

func machineFacts(n int, held []*sitev1.HeldVolume) *sitev1.NodeFacts {
	capacity := testNode(n).GetCapacity()
	capacity.DiskBytes = 100 << 30
	return &sitev1.NodeFacts{Capacity: capacity, Vms: &skerryv1.VmFacts{Emulation: true, Firmware: []string{"bios"}, Bridges: []string{"br0"}}, Volumes: held}
}

// runs the machine on a node.
func (s *site) runsVM(node string) {
	s.t.Helper()
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("vm", s.store.View().Workload("default", "vm").GetGeneration())}})
	if s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign("vm-1", node)}}) != 0 {
		s.t.Fatalf("vm-1 does not get node %s", node)
	}
}

func powerEntry(change *sitev1.SetPower) *sitev1.Entry {
	change.Project = "default"
	if change.Placement == "" {
		change.Placement = "vm-1"
	}
	return &sitev1.Entry{Change: &sitev1.Entry_SetPower{SetPower: change}}
}

func TestPowerStaysAsItIsSaid(t *testing.T) {
	s := withMachines(t)
	s.ok(applyEntry(aVM(), testWorkload("web", 1)))
	s.runsVM("n1")
	const on, off, paused = skerryv1.PowerState_POWER_STATE_ON, skerryv1.PowerState_POWER_STATE_OFF, skerryv1.PowerState_POWER_STATE_PAUSED
	power := func() *skerryv1.Power { return s.store.View().Placement("default", "vm-1").GetPower() }
	s.refused("not_found", powerEntry(&sitev1.SetPower{Placement: "vm-9", State: off}))
	s.refused("invalid", powerEntry(&sitev1.SetPower{State: 7}))
	s.ok(powerEntry(&sitev1.SetPower{State: paused}))
	s.ok(powerEntry(&sitev1.SetPower{State: off, Hard: true}))
	s.restart()
	if power().GetState() != off || !power().GetHard() || power().GetCycle() != 0 {
		t.Errorf("after the stop its power is %v", power())
	}
	s.refused("conflict", powerEntry(&sitev1.SetPower{State: paused}))
	s.refused("conflict", powerEntry(&sitev1.SetPower{Restart: true}))
	s.ok(powerEntry(&sitev1.SetPower{State: on}))
	s.ok(powerEntry(&sitev1.SetPower{Restart: true, Hard: true}))
	if power().GetState() != on || power().GetCycle() != 1 || !power().GetHard() {
		t.Errorf("after the reset its power is %v", power())
	}
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("web", 1)}})
	s.refused("invalid", powerEntry(&sitev1.SetPower{Placement: "web-1", State: off}))
}

func TestAVMIsChangedWhereItIs(t *testing.T) {
	s := withMachines(t)
	s.ok(applyEntry(aVM()))
	s.runsVM("n1")
	s.ok(applyEntry(aVM(func(w *skerryv1.Workload) { w.Vm.Memory = "256Mi" })))
	p := s.store.View().Placement("default", "vm-1")
	if p.GetGeneration() != 2 || p.GetSpec().GetVm().GetMemory() != "256Mi" || p.GetPower().GetCycle() != 1 || p.GetNode() != "n1" {
		t.Errorf("after a change of its memory it is %v", p)
	}
	s.refused("exhausted", applyEntry(aVM(func(w *skerryv1.Workload) { w.Vm.Memory = "1Ti" })))
	s.refused("conflict", applyEntry(aVM(func(w *skerryv1.Workload) { w.Vm.Networks = []*skerryv1.Nic{{Bridge: "br9"}} })))
	s.ok(applyEntry(aVM(func(w *skerryv1.Workload) { w.Vm.Image = "other" })))
	if p := s.store.View().Placement("default", "vm-1"); p.GetGeneration() != 2 || p.GetSpec().GetVm().GetImage() != "disk" {
		t.Errorf("another image was put under it: %v", p)
	}
	s.restart()
}

// The memory of a guest is on huge pages or on ordinary ones, never on both; its
// project pays for either.
func TestHugePagesAreCountedOnce(t *testing.T) {
	s := withMachines(t)
	facts := machineFacts(1, nil)
	facts.Capacity.Devices = map[string]uint32{"hugepages-2Mi": 300, "gpu": 5000}
	s.says("n1", facts)
	if got := s.store.View().Node("n1").GetCapacity().GetDevices(); got["hugepages-2Mi"] != 300 || got["gpu"] != 1024 {
		t.Errorf("the node's devices are %v", got)
	}
	ordinary, err := NeedsOf(aVM())
	if err != nil {
		t.Fatal(err)
	}
	huge, err := NeedsOf(aVM(onHugePages))
	if err != nil || huge.MemoryBytes != ordinary.MemoryBytes-512<<20 || huge.HugeBytes != 512<<20 || huge.Devices[0] != (Device{"hugepages-2Mi", 256}) {
		t.Errorf("on huge pages it needs %+v, %v; on others %+v", huge, err, ordinary)
	}
	if a, b := useOf(aVM()), useOf(aVM(onHugePages)); a.GetMemoryBytes() != b.GetMemoryBytes() {
		t.Errorf("its project has %d bytes in use, and %d with huge pages", a.GetMemoryBytes(), b.GetMemoryBytes())
	}
	s.ok(applyEntry(aVM(onHugePages)))
	s.runsVM("n1")
	s.ok(applyEntry(aVM(onHugePages, func(w *skerryv1.Workload) { w.Vm.Memory = "600Mi" })))
	s.refused("exhausted", applyEntry(aVM(onHugePages, func(w *skerryv1.Workload) { w.Vm.Memory = "602Mi" })))
	s.refused("invalid", applyEntry(aVM(onHugePages, func(w *skerryv1.Workload) { w.Vm.Memory = "601Mi" })))
	s.ok(applyEntry(aVM()))
	s.restart()
}

func onHugePages(w *skerryv1.Workload) { w.Vm.Hugepages = "2Mi" }

func TestAVMGoesOnlyWhereItCanRun(t *testing.T) {
	s := withMachines(t)
	for name, change := range map[string]func(*skerryv1.Workload){
		"KVM":            func(w *skerryv1.Workload) { w.Vm.Accel = "kvm" },
		"UEFI":           func(w *skerryv1.Workload) { w.Vm.Boot.Firmware = "uefi" },
		"a bridge":       func(w *skerryv1.Workload) { w.Vm.Networks = []*skerryv1.Nic{{Bridge: "br9"}} },
		"secure boot":    func(w *skerryv1.Workload) { w.Vm.Boot = &skerryv1.Boot{Firmware: "uefi", SecureBoot: true} },
		"a CPU":          func(w *skerryv1.Workload) { w.Vm.CpuSet = "900" },
		"huge pages":     func(w *skerryv1.Workload) { w.Vm.Hugepages = "2Mi" },
		"memory":         func(w *skerryv1.Workload) { w.Vm.Memory = "1Ti" },
		"a disk's image": func(w *skerryv1.Workload) { w.Vm.Image = "web:1" },
	} {
		s.ok(applyEntry(aVM(change)))
		s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("vm", s.store.View().Workload("default", "vm").GetGeneration())}})
		names := s.names("vm")
		if s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign(names[len(names)-1], "n1")}}) == 0 {
			t.Errorf("without %s it got a node", name)
		}
		s.ok(deleteEntry("Workload", "vm"))
	}
}

func TestVolumesOutliveWhatUsesThem(t *testing.T) {
	s := withMachines(t)
	volume := func() *skerryv1.Volume { return s.store.View().Volume("default", "data") }
	declare := func(size, node string) *sitev1.Entry {
		v := &skerryv1.Volume{Kind: "Volume", Name: "data", Project: "default", Class: "local", Size: size, Node: node}
		return &sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
			Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Volume{Volume: v}}},
		}}}
	}
	remove := func(withData bool) *sitev1.Entry {
		e := deleteEntry("Volume", "data")
		e.GetDeleteResource().WithData = withData
		return e
	}
	s.refused("invalid", applyEntry(aVM(withVolume, func(w *skerryv1.Workload) { w.Vm.Disks[0].Size = "" })))
	s.ok(applyEntry(aVM(withVolume)))
	if volume().GetSize() != "1Gi" || volume().GetNode() != "" {
		t.Fatalf("the volume that it declares is %v", volume())
	}
	s.refused("conflict", applyEntry(aVM(withVolume, func(w *skerryv1.Workload) { w.Name = "thief" })))
	s.runsVM("n2")
	if volume().GetNode() != "n2" || volume().GetStatus().GetMade() {
		t.Errorf("after its first use the volume is %v", volume())
	}
	s.says("n1", machineFacts(1, []*sitev1.HeldVolume{{Project: "default", Name: "data", Used: 7}})) // not its business
	s.says("n2", machineFacts(2, []*sitev1.HeldVolume{{Project: "default", Name: "data", Used: 4096}}))
	if !volume().GetStatus().GetMade() || volume().GetStatus().GetUsed() != 4096 {
		t.Errorf("once it is made the volume is %v", volume())
	}
	s.refused("conflict", declare("1Gi", "n1"))
	s.refused("invalid", declare("1Mi", ""))
	s.refused("conflict", declare("2Gi", "")) // it is in use
	s.refused("conflict", remove(true))
	s.restart()

	s.ok(deleteEntry("Workload", "vm"))
	s.report("n2", "vm-1", nil, true)
	s.ok(declare("2Gi", ""))
	s.refused("conflict", remove(false))
	s.ok(remove(true))
	s.refused("conflict", applyEntry(aVM(withVolume)))
	s.says("n2", machineFacts(2, nil)) // that it is not named is no word for its end
	if !volume().GetStatus().GetDeleting() {
		t.Fatalf("before its node says so the volume is %v", volume())
	}
	s.says("n2", machineFacts(2, []*sitev1.HeldVolume{{Project: "default", Name: "data", Gone: true}}))
	if volume() != nil {
		t.Errorf("its data is deleted, and there is still %v", volume())
	}
	s.restart()
}

func TestAnExclusiveVMHasNoVolume(t *testing.T) {
	s := withMachines(t)
	exclusive := func(w *skerryv1.Workload) { exclusive(w); w.Partition.ReplaceAfter = "0s" }
	s.ok(applyEntry(aVM(exclusive)))
	s.runsVM("n1")
	if p := s.store.View().Placement("default", "vm-1"); !MayRun(p) {
		t.Errorf("under a lease it is %v", p)
	}
	s.refused("invalid", applyEntry(aVM(exclusive, withVolume, func(w *skerryv1.Workload) { w.Name = "db" })))
}

func TestDisksAndCardsNeedNoRestart(t *testing.T) {
	card := func(mac string) *skerryv1.Nic { return &skerryv1.Nic{Bridge: "br0", Mac: mac} }
	disk := func(name string, readOnly bool) *skerryv1.Disk {
		return &skerryv1.Disk{Name: name, Volume: name, Size: "1Gi", ReadOnly: readOnly}
	}
	s := withMachines(t)
	s.ok(applyEntry(aVM()))
	s.runsVM("n1")
	cycle := uint64(0)
	for _, step := range []struct {
		what     string
		restarts bool
		vm       func(*skerryv1.VirtualMachine)
	}{
		{"a disk comes", false, func(vm *skerryv1.VirtualMachine) { vm.Disks = append(vm.Disks, disk("a", false)) }},
		{"one before it comes, and a card", false, func(vm *skerryv1.VirtualMachine) {
			vm.Disks, vm.Networks = []*skerryv1.Disk{disk("b", false), disk("a", false)}, []*skerryv1.Nic{card("auto")}
		}},
		{"the first disk goes, and a card comes", false, func(vm *skerryv1.VirtualMachine) {
			vm.Disks, vm.Networks = vm.Disks[1:], append(vm.Networks, card("auto"))
		}},
		{"a disk becomes one to read", true, func(vm *skerryv1.VirtualMachine) { vm.Disks = []*skerryv1.Disk{disk("a", true)} }},
		{"the first card goes", true, func(vm *skerryv1.VirtualMachine) {
			vm.Networks = []*skerryv1.Nic{card("52:54:00:00:00:01")}
		}},
		{"a CPU comes with a disk", true, func(vm *skerryv1.VirtualMachine) { vm.Cpu, vm.Disks = 2, nil }},
	} {
		next := proto.CloneOf(s.store.View().Workload("default", "vm"))
		next.ResourceVersion = 0
		step.vm(next.GetVm())
		s.ok(applyEntry(next))
		p := s.store.View().Placement("default", "vm-1")
		if step.restarts {
			cycle++
		}
		if p.GetPower().GetCycle() != cycle || !proto.Equal(p.GetSpec().GetVm(), next.GetVm()) {
			t.Errorf("%s: its power is %v, its machine %v", step.what, p.GetPower(), p.GetSpec().GetVm())
		}
	}
}
