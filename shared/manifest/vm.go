package manifest

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Bounds of virtual machines.
const (
	MaxVolumeBytes = 64 << 40
	minVolumeBytes = 1 << 20
	maxCPUs        = 256
	maxNodeCPU     = 1023
	minVMMemory    = 32 << 20
	maxDisks       = 16
	maxNics        = 8
	// MaxUserData of cloud-init, in bytes.
	MaxUserData  = 64 << 10
	maxNetConfig = 16 << 10
	maxCmdline   = 2 << 10
	maxSSHKeys   = 32
	maxSSHKey    = 8 << 10
	// FileMark before user data names a file that the command line reads.
	FileMark = "file:"
)

var (
	diskNameShape = shapeOf(lower, lower+digits+"-", lower+digits, 20)
	bridgePattern = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.]{0,14}$`)
	hostPattern   = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*$`)
	sshKeyPattern = regexp.MustCompile(`^(ssh|ecdsa|sk)-[-a-zA-Z0-9@.]+ [A-Za-z0-9+/=]+( [ -~]*)?$`)
)

// ImageOf what a workload runs.
func ImageOf(w *skerryv1.Workload) string {
	if w.GetVm() != nil {
		return w.GetVm().GetImage()
	}
	return w.GetContainer().GetImage()
}

// VMSize is what a virtual machine is given: thousandths of cores, and bytes of
// memory.
func VMSize(vm *skerryv1.VirtualMachine) (cpuMilli, memoryBytes int64, err error) {
	memoryBytes, err = Memory(vm.GetMemory())
	return int64(vm.GetCpu()) * 1000, memoryBytes, err
}

// VMOverhead is the memory that QEMU takes beside that of the guest: its own, for
// each processor, page tables, and what emulation keeps of code that it has
// translated.
func VMOverhead(vm *skerryv1.VirtualMachine, memoryBytes int64) int64 {
	overhead := int64(96<<20) + int64(vm.GetCpu())*(8<<20) + memoryBytes/512
	if vm.GetAccel() != KVM {
		overhead += TranslationBytes
	}
	return overhead
}

// TranslationBytes is what emulation may keep of translated code.
const TranslationBytes = 128 << 20

// How a virtual machine runs, and boots.
const (
	KVM  = "kvm"
	TCG  = "tcg"
	UEFI = "uefi"
	// SecureBoot of a node's firmware: UEFI that knows the common keys.
	SecureBoot = "secure-boot"
)

// HugePages are the sizes of huge pages, in bytes.
var HugePages = map[string]int64{"2Mi": 2 << 20, "1Gi": 1 << 30}

// HugePageDevice is the name under which a node counts huge pages of a size.
func HugePageDevice(size string) string { return "hugepages-" + size }

// MaxHugePages of one size on one node.
const MaxHugePages = 1 << 24

// CPUSet reads numbers of CPUs such as `2-5,8`, each above the one before it.
func CPUSet(text string) ([]int, error) {
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		switch {
		case err1 != nil || err2 != nil || from > to || to > maxNodeCPU:
			return nil, fmt.Errorf("%q is no CPU such as 3, nor some such as 2-5", shorten(part))
		case len(all) > 0 && int(from) <= all[len(all)-1]:
			return nil, fmt.Errorf("%q is not above those before it", shorten(part))
		}
		for cpu := int(from); cpu <= int(to); cpu++ {
			all = append(all, cpu)
		}
	}
	return all, nil
}

func defaultVM(vm *skerryv1.VirtualMachine) {
	set(&vm.Cpu, 1)
	set(&vm.Memory, "512Mi")
	set(&vm.Accel, "auto")
	if vm.Boot == nil {
		vm.Boot = &skerryv1.Boot{}
	}
	set(&vm.Boot.Firmware, "bios")
	for _, nic := range vm.GetNetworks() {
		set(&nic.Mac, "auto")
	}
}

func (v *validator) vm(w *skerryv1.Workload) {
	vm := w.GetVm()
	if vm.GetImage() == "" {
		v.fail("vm.image", "it is missing").Hint = "skerry get images shows what is loaded"
	} else if !imageShape.fits(vm.GetImage()) {
		v.fail("vm.image", "%q is not the name of an image", shorten(vm.GetImage())).Hint = "skerry get images shows what is loaded"
	}
	v.between("vm.cpu", vm.GetCpu(), 1, maxCPUs)
	v.memory("vm.memory", vm.GetMemory(), minVMMemory, "32Mi")
	if vm.GetDiskSize() != "" {
		v.volumeSize("vm.diskSize", vm.GetDiskSize())
	}
	v.oneOf("vm.accel", vm.GetAccel(), "auto", KVM, TCG)
	v.disks(w)
	v.nics(w)
	if vm.GetCloudInit() != nil {
		v.cloudInit(vm.GetCloudInit())
	}
	v.boot(vm.GetBoot())
	v.tuning(vm)
	v.onlyContainers(w)
}

// onlyContainers refuses what is not there for virtual machines.
func (v *validator) onlyContainers(w *skerryv1.Workload) {
	if w.GetIdentity() {
		v.fail("identity", "virtual machines have none yet").Hint = "a container beside it may have one"
	}
	if w.GetPartition().GetMode() == Exclusive && len(w.GetVm().GetDisks()) > 0 {
		v.fail("partition.mode", "its volumes are on one node, and what is exclusive moves to another").Hint =
			"leave it out: stay never runs one twice either, it does not move from its node by itself"
	}
	switch u := w.GetUpdate(); {
	case u.GetStrategy() != Rolling && u.GetStrategy() != Recreate:
		v.fail("update.strategy", "a virtual machine is changed where it is, not beside the old one").Hint = "leave it out"
	case u.GetMaxSurge() != 0:
		v.fail("update.maxSurge", "a virtual machine is changed where it is, not beside the old one").Hint = "leave it out"
	}
}

func (v *validator) volumeSize(field, text string) {
	if size, err := Memory(text); err != nil || size < minVolumeBytes || size > MaxVolumeBytes {
		v.fail(field, "%q is not a size such as 20Gi, 1Mi to 64Ti", shorten(text))
	} else if size%512 != 0 {
		v.fail(field, "%s is not a whole number of sectors of 512 bytes", text)
	}
}

func (v *validator) disks(w *skerryv1.Workload) {
	disks := w.GetVm().GetDisks()
	v.atMost("vm.disks", len(disks), maxDisks)
	names, volumes := map[string]bool{"root": true, "cidata": true}, map[string]bool{}
	for i, disk := range disks {
		field := fmt.Sprintf("vm.disks[%d]", i)
		switch {
		case !diskNameShape.fits(disk.GetName()):
			v.fail(field+".name", "%q is not a disk's name: 1 to 20 characters, a-z, 0-9 and -, starting with a letter", shorten(disk.GetName()))
		case names[disk.GetName()]:
			v.fail(field+".name", "%q is given twice, or is that of the root disk or of cloud-init's", disk.GetName())
		}
		names[disk.GetName()] = true
		v.name(field+".volume", disk.GetVolume())
		if volumes[disk.GetVolume()] {
			v.fail(field+".volume", "%q is given twice", shorten(disk.GetVolume()))
		}
		volumes[disk.GetVolume()] = true
		if disk.GetSize() != "" {
			v.volumeSize(field+".size", disk.GetSize())
		}
	}
	if len(disks) > 0 && (w.GetReplicas() > 1 || w.GetPerNode() || IsJob(w)) {
		v.fail("vm.disks", "a volume is used by one placement at a time").Hint = "replicas: 1, without perNode and runToCompletion"
	}
}

func (v *validator) nics(w *skerryv1.Workload) {
	nics := w.GetVm().GetNetworks()
	v.atMost("vm.networks", len(nics), maxNics)
	macs := map[string]bool{}
	for i, nic := range nics {
		field := fmt.Sprintf("vm.networks[%d]", i)
		if (nic.GetBridge() != "") == nic.GetNat() {
			v.fail(field, "give exactly one of bridge and nat")
		}
		if nic.GetBridge() != "" && !bridgePattern.MatchString(nic.GetBridge()) {
			v.fail(field+".bridge", "%q is not the name of a bridge", shorten(nic.GetBridge()))
		}
		v.mac(w, field+".mac", nic.GetMac(), macs)
	}
}

func (v *validator) mac(w *skerryv1.Workload, field, text string, taken map[string]bool) {
	if text == "auto" {
		return
	}
	const length = 6
	mac, err := net.ParseMAC(text)
	switch {
	case err != nil || len(mac) != length || strings.Contains(text, "."):
		v.fail(field, "%q is neither auto nor a hardware address such as 52:54:00:12:34:56", shorten(text))
		return
	case mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00":
		v.fail(field, "%s is not the address of one card", text)
	case taken[mac.String()]:
		v.fail(field, "%s is given twice", text)
	case w.GetReplicas() > 1 || w.GetPerNode() || IsJob(w):
		v.fail(field, "several placements would have the same address").Hint = "mac: auto gives each its own"
	}
	taken[mac.String()] = true
}

func (v *validator) cloudInit(c *skerryv1.CloudInit) {
	const longestName = 253
	if host := c.GetHostname(); host != "" && (len(host) > longestName || !hostPattern.MatchString(host)) {
		v.fail("vm.cloudInit.hostname", "%q is not a host name", shorten(host))
	}
	data := c.GetUserData()
	switch {
	case len(data) > MaxUserData || strings.ContainsRune(data, 0):
		v.fail("vm.cloudInit.userData", "it is longer than %d KiB, or holds a zero byte", MaxUserData>>10)
	case data != "" && !strings.HasPrefix(data, FileMark) && !strings.HasPrefix(data, "#") && !strings.HasPrefix(data, "Content-Type: multipart/"):
		v.fail("vm.cloudInit.userData", "cloud-init would ignore it: it must begin with #cloud-config, with #! or with Content-Type: multipart/")
	}
	if network := c.GetNetworkConfig(); len(network) > maxNetConfig || strings.ContainsRune(network, 0) {
		v.fail("vm.cloudInit.networkConfig", "it is longer than %d KiB, or holds a zero byte", maxNetConfig>>10)
	}
	v.atMost("vm.cloudInit.sshKeys", len(c.GetSshKeys()), maxSSHKeys)
	for i, key := range c.GetSshKeys() {
		if len(key) > maxSSHKey || !sshKeyPattern.MatchString(key) {
			v.fail(fmt.Sprintf("vm.cloudInit.sshKeys[%d]", i), "%q is not a public key such as ssh-ed25519 AAAA... NAME", shorten(key))
		}
	}
}

func (v *validator) boot(b *skerryv1.Boot) {
	v.oneOf("vm.boot.firmware", b.GetFirmware(), "bios", UEFI)
	switch {
	case b.GetSecureBoot() && b.GetFirmware() != UEFI:
		v.fail("vm.boot.secureBoot", "the BIOS knows no signatures").Hint = "firmware: uefi"
	case b.GetSecureBoot() && b.GetKernel() != "":
		v.fail("vm.boot.secureBoot", "the firmware does not look at signatures of a kernel that is given here").Hint = "leave out kernel: the disk's boot loader starts it"
	}
	for _, given := range []struct{ field, file string }{{"vm.boot.kernel", b.GetKernel()}, {"vm.boot.initrd", b.GetInitrd()}} {
		if given.file != "" && (!cleanAbsolute(given.file) || !printable(given.file)) {
			v.fail(given.field, "%q is not a clean absolute path", shorten(given.file))
		}
	}
	if b.GetKernel() == "" && (b.GetInitrd() != "" || b.GetCmdline() != "") {
		v.fail("vm.boot.kernel", "it is missing: initrd and cmdline are for a kernel that is given here")
	}
	if len(b.GetCmdline()) > maxCmdline || !printable(b.GetCmdline()) {
		v.fail("vm.boot.cmdline", "it is longer than %d KiB, or holds more than visible ASCII and spaces", maxCmdline>>10)
	}
}

// tuning is how the machine takes memory and CPUs of its node.
func (v *validator) tuning(vm *skerryv1.VirtualMachine) {
	if size := vm.GetHugepages(); size != "" {
		v.oneOf("vm.hugepages", size, "2Mi", "1Gi")
		if memory, err := Memory(vm.GetMemory()); err == nil && HugePages[size] > 0 && memory%HugePages[size] != 0 {
			v.fail("vm.hugepages", "the memory of %s is not a multiple of %s", vm.GetMemory(), size)
		}
	}
	if vm.GetCpuSet() != "" {
		if _, err := CPUSet(vm.GetCpuSet()); err != nil {
			v.fail("vm.cpuSet", "%w", err).Hint = "give numbers of the node's CPUs, as in 2-5,8"
		}
	}
}

// printable text of one line, in ASCII.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// Defaults that differ for virtual machines: a guest takes its time.
const (
	vmStopGrace   = "1m"
	vmStartPeriod = "2m"
)
