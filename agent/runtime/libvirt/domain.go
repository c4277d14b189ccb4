package libvirt

import (
	"fmt"
	"path/filepath"
	"strconv"

	golibvirtxml "libvirt.org/go/libvirtxml"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/agent/runtime/snapshot"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// machine is all that a domain is made of.
type machine struct {
	spec    runtime.Spec
	accel   string
	root    string
	disks   []volumeDisk
	seed    string // empty: none
	log     string
	console string
}

// volumeDisk is a volume as a disk.
type volumeDisk struct {
	file, name, volume string
	readOnly           bool
}

// agentChannel is where the guest's agent listens.
const agentChannel = "org.qemu.guest_agent.0"

// xml of the domain. All text of users goes through the encoder, field by field.
func (d *Driver) xml(m machine) (string, error) {
	meta, err := d.metadata(m.spec)
	if err != nil {
		return "", err
	}
	vm := m.spec.VM
	domain := &golibvirtxml.Domain{
		Type: map[string]string{accelKVM: "kvm", accelTCG: "qemu"}[m.accel],
		Name: domainName(m.spec.ID), UUID: d.uuidOf(m.spec.ID).String(),
		Metadata:   &golibvirtxml.DomainMetadata{XML: meta},
		Memory:     &golibvirtxml.DomainMemory{Value: uint(m.spec.MemoryBytes >> 10), Unit: "KiB"},
		VCPU:       &golibvirtxml.DomainVCPU{Value: uint(vm.GetCpu()), CPUSet: vm.GetCpuSet()},
		OS:         boot(vm.GetBoot(), d.diskDir(m.spec.ID)),
		Features:   &golibvirtxml.DomainFeatureList{ACPI: &golibvirtxml.DomainFeature{}, APIC: &golibvirtxml.DomainFeatureAPIC{}},
		CPU:        processor(m.accel),
		Clock:      &golibvirtxml.DomainClock{Offset: "utc"},
		OnPoweroff: "destroy", OnReboot: "restart", OnCrash: "destroy",
		Devices: d.devices(m),
	}
	if page := manifest.HugePages[vm.GetHugepages()]; page > 0 {
		domain.MemoryBacking = &golibvirtxml.DomainMemoryBacking{MemoryHugePages: &golibvirtxml.DomainMemoryHugepages{
			Hugepages: []golibvirtxml.DomainMemoryHugepage{{Size: uint(page >> 10), Unit: "KiB"}},
		}}
	}
	if cpus, err := manifest.CPUSet(vm.GetCpuSet()); err == nil && m.accel == accelKVM && len(cpus) == int(vm.GetCpu()) {
		domain.CPUTune = &golibvirtxml.DomainCPUTune{}
		for i, cpu := range cpus {
			domain.CPUTune.VCPUPin = append(domain.CPUTune.VCPUPin, golibvirtxml.DomainCPUTuneVCPUPin{VCPU: uint(i), CPUSet: strconv.Itoa(cpu)})
		}
	}
	return domain.Marshal()
}

// varsFile is beside the root disk: what the guest has told its firmware to
// start lives as long as that does. Keys for secure boot are in it as well.
func varsFile(dir string, secure bool) string {
	if secure {
		return filepath.Join(dir, "vars-secure.fd")
	}
	return filepath.Join(dir, "vars.fd")
}

func boot(b *skerryv1.Boot, dir string) *golibvirtxml.DomainOS {
	os := &golibvirtxml.DomainOS{
		Type:   &golibvirtxml.DomainOSType{Arch: "x86_64", Machine: "q35", Type: "hvm"},
		Kernel: b.GetKernel(), Initrd: b.GetInitrd(), Cmdline: b.GetCmdline(),
	}
	if b.GetFirmware() == manifest.UEFI {
		secure := map[bool]string{false: "no", true: "yes"}[b.GetSecureBoot()]
		os.Firmware = "efi"
		os.FirmwareInfo = &golibvirtxml.DomainOSFirmwareInfo{Features: []golibvirtxml.DomainOSFirmwareFeature{
			{Name: "enrolled-keys", Enabled: secure}, {Name: "secure-boot", Enabled: secure},
		}}
		os.NVRam = &golibvirtxml.DomainNVRam{NVRam: varsFile(dir, b.GetSecureBoot())}
	}
	if b.GetKernel() == "" {
		os.BootDevices = []golibvirtxml.DomainBootDevice{{Dev: "hd"}}
	}
	return os
}

func processor(accel string) *golibvirtxml.DomainCPU {
	if accel == accelKVM {
		return &golibvirtxml.DomainCPU{Mode: "host-model", Check: "none"}
	}
	return &golibvirtxml.DomainCPU{Mode: "maximum"}
}

func (d *Driver) devices(m machine) *golibvirtxml.DomainDeviceList {
	port := uint(0)
	log := &golibvirtxml.DomainChardevLog{File: m.log, Append: "on"}
	serial := &golibvirtxml.DomainChardevSource{UNIX: &golibvirtxml.DomainChardevSourceUNIX{Mode: "bind", Path: m.console}}
	return &golibvirtxml.DomainDeviceList{
		Disks:       disksOf(m),
		Interfaces:  d.cards(m),
		Controllers: controllers(m),
		Serials:     []golibvirtxml.DomainSerial{{Source: serial, Log: log, Target: &golibvirtxml.DomainSerialTarget{Port: &port}}},
		Channels: []golibvirtxml.DomainChannel{{
			Source: &golibvirtxml.DomainChardevSource{UNIX: &golibvirtxml.DomainChardevSourceUNIX{Mode: "bind"}},
			Target: &golibvirtxml.DomainChannelTarget{VirtIO: &golibvirtxml.DomainChannelTargetVirtIO{Name: agentChannel}},
		}},
		Videos:     []golibvirtxml.DomainVideo{{Model: golibvirtxml.DomainVideoModel{Type: "vga"}}},
		MemBalloon: &golibvirtxml.DomainMemBalloon{Model: "virtio"},
		RNGs: []golibvirtxml.DomainRNG{{
			Model: "virtio", Backend: &golibvirtxml.DomainRNGBackend{Random: &golibvirtxml.DomainRNGBackendRandom{Device: "/dev/urandom"}},
		}},
		Panics: []golibvirtxml.DomainPanic{{Model: "isa"}},
	}
}

func disksOf(m machine) []golibvirtxml.DomainDisk {
	all := []golibvirtxml.DomainDisk{diskXML(targetOf(0), m.root, diskimage.QCOW2, rootName, false)}
	for _, v := range m.disks {
		all = append(all, diskXML(targetOf(len(all)), v.file, diskimage.Raw, v.name, v.readOnly))
	}
	if m.seed != "" {
		all = append(all, diskXML(targetOf(len(all)), m.seed, diskimage.Raw, "cidata", true))
	}
	return all
}

func diskXML(target, file, format, serial string, readOnly bool) golibvirtxml.DomainDisk {
	d := golibvirtxml.DomainDisk{
		Device: "disk", Serial: serial,
		Driver: &golibvirtxml.DomainDiskDriver{Name: "qemu", Type: format, Discard: "unmap"},
		Source: &golibvirtxml.DomainDiskSource{File: &golibvirtxml.DomainDiskSourceFile{File: file}},
		Target: &golibvirtxml.DomainDiskTarget{Dev: target, Bus: "virtio"},
	}
	if readOnly {
		d.ReadOnly = &golibvirtxml.DomainDiskReadOnly{}
	}
	return d
}

// controllers: no USB, and a slot for each device and some that come later.
func controllers(m machine) []golibvirtxml.DomainController {
	const others = 4 // serial ports, balloon, entropy, cloud-init's disk
	root := uint(0)
	all := []golibvirtxml.DomainController{{Type: "usb", Model: "none"}, {Type: "pci", Index: &root, Model: "pcie-root"}}
	for range 1 + len(m.disks) + len(m.spec.VM.GetNetworks()) + others + spareSlots {
		all = append(all, golibvirtxml.DomainController{Type: "pci", Model: "pcie-root-port"})
	}
	return all
}

// targetOf a disk by its place.
func targetOf(at int) string { return fmt.Sprintf("vd%c", 'a'+at) }

// diskFiles are the disks of a machine that hold what its guest wrote.
func diskFiles(m machine) []diskFile {
	all := []diskFile{{Disk: snapshot.Disk{Name: rootName, File: m.root, Format: diskimage.QCOW2}, Target: targetOf(0)}}
	for _, v := range m.disks {
		all = append(all, diskFile{Disk: snapshot.Disk{Name: v.name, File: v.file, Format: diskimage.Raw}, Target: targetOf(len(all)), Volume: v.volume})
	}
	return all
}

func (d *Driver) cards(m machine) []golibvirtxml.DomainInterface {
	var all []golibvirtxml.DomainInterface
	for i, nic := range m.spec.VM.GetNetworks() {
		mac := nic.GetMac()
		if mac == "" || mac == "auto" {
			mac = d.macOf(m.spec.ID, i)
		}
		source := &golibvirtxml.DomainInterfaceSource{User: &golibvirtxml.DomainInterfaceSourceUser{}}
		if nic.GetBridge() != "" {
			source = &golibvirtxml.DomainInterfaceSource{Bridge: &golibvirtxml.DomainInterfaceSourceBridge{Bridge: nic.GetBridge()}}
		}
		all = append(all, golibvirtxml.DomainInterface{
			MAC: &golibvirtxml.DomainInterfaceMAC{Address: mac}, Source: source, Model: &golibvirtxml.DomainInterfaceModel{Type: "virtio"},
		})
	}
	return all
}
