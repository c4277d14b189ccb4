//go:build integration

package libvirt

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// firmwareTime is what emulated firmware may take beside the guest, on a busy machine.
const firmwareTime = 5 * time.Minute

// A guest that its firmware starts finds there again what it told it, also after a
// restart, which defines the domain anew.
func TestAGuestBootsByUEFI(t *testing.T) {
	d := newNode(t, theOne).open(t)
	spec := machineSpec(t, d, "vm-1")
	spec.VM.Boot.Firmware = "uefi"
	spec.MemoryBytes = 256 << 20 // less than that this firmware does not start
	const variable = "/sys/firmware/efi/efivars/Told-5e1d7a90-3c2b-4f6e-9b1a-2f0c8d7e6a51"
	const mounted = "mount -t efivarfs none /sys/firmware/efi/efivars; "
	booted := func() { // which takes a while when it is emulated
		run(t, d, spec)
		begun := func() bool { return d.PingAgent(t.Context(), spec.ID) == nil }
		for end := time.Now().Add(firmwareTime); !begun() && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		}
	}
	booted()
	inGuest(t, d, spec.ID, "sh", "-c", mounted+`busybox printf '\007\000\000\000kept' > `+variable)
	must(t, d.Stop(t.Context(), spec.ID, patience))
	must(t, d.Remove(t.Context(), spec.ID))
	booted()
	if got := inGuest(t, d, spec.ID, "sh", "-c", mounted+"cat "+variable); !strings.HasSuffix(got, "kept") {
		t.Errorf("after a restart the firmware holds %q", got)
	}
	must(t, d.Stop(t.Context(), spec.ID, 0))
	must(t, d.Remove(t.Context(), spec.ID))
	must(t, d.Forget(t.Context(), spec.ID))
	if exists(d.diskDir(spec.ID)) {
		t.Error("what the firmware holds was left behind")
	}
}

// The firmware that knows keys starts no disk without a signed boot loader, and
// libvirt finds it by what is asked for.
func TestFirmwareWithKeysIsFound(t *testing.T) {
	d := newNode(t, theOne).open(t)
	spec := machineSpec(t, d, "vm-1")
	spec.VM.Boot.Reset()
	spec.VM.Boot.Firmware, spec.VM.Boot.SecureBoot = "uefi", true
	run(t, d, spec)
	must(t, d.link.do(t.Context(), callTime, func(l *golibvirt.Libvirt) error {
		text, err := l.DomainGetXMLDesc(d.domainOf(spec.ID), 0)
		if !strings.Contains(text, "OVMF_VARS_4M.ms.fd") || !strings.Contains(text, "secure='yes'") {
			t.Errorf("its firmware is another one:\n%s", text)
		}
		return err
	}))
	must(t, d.Stop(t.Context(), spec.ID, 0))
}

// The memory of a guest is where it was asked for, and its process on the CPUs.
func TestAGuestOnHugePages(t *testing.T) {
	const file, pages = "/proc/sys/vm/nr_hugepages", 64
	before := number(t, file)
	t.Cleanup(func() { must(t, os.WriteFile(file, []byte(strconv.Itoa(before)), 0)) })
	must(t, os.WriteFile(file, []byte(strconv.Itoa(before+pages)), 0))
	if number(t, file) < before+pages {
		t.Skip("this machine has no room for huge pages")
	}
	d := newNode(t, theOne).open(t)
	spec := machineSpec(t, d, "vm-1")
	spec.VM.Hugepages, spec.VM.CpuSet = "2Mi", "0"
	run(t, d, spec)
	inGuest(t, d, spec.ID, "true")
	if used := number(t, file) - number(t, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"); used < pages {
		t.Errorf("%d huge pages are in use", used)
	}
	var process []byte
	for _, dir := range processes(t) {
		if line, _ := os.ReadFile(dir + "/cmdline"); strings.Contains(string(line), domainName(spec.ID)) {
			process, _ = os.ReadFile(dir + "/status")
		}
	}
	if !strings.Contains(string(process), "\nCpus_allowed_list:\t0\n") {
		t.Errorf("its process may run elsewhere: %s", process)
	}
	must(t, d.Stop(t.Context(), spec.ID, 0))
}

func number(t *testing.T, file string) (n int) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	_, err = fmt.Sscan(string(text), &n)
	must(t, err)
	return n
}

func processes(t *testing.T) (dirs []string) {
	t.Helper()
	all, err := os.ReadDir("/proc")
	must(t, err)
	for _, entry := range all {
		if _, err := strconv.Atoi(entry.Name()); err == nil {
			dirs = append(dirs, "/proc/"+entry.Name())
		}
	}
	return dirs
}
