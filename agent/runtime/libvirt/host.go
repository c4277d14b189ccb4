package libvirt

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// probeEvery is how often KVM is tried again: somebody may have mended it.
	probeEvery = 10 * time.Minute
	// helloEvery is how often libvirt is asked whether it is there, by a node on
	// which no virtual machine runs.
	helloEvery = 10 * time.Second
	// firmwareDir tells libvirt, and us, which UEFI there is.
	firmwareDir = "/usr/share/qemu/firmware"
)

// host is what the machine can do for virtual machines.
type host struct {
	mu sync.Mutex
	// probed is when KVM was tried last; broken says what came of it.
	probed time.Duration
	broken string
	// hung: KVM is there and does not run a guest.
	hung bool
	// asked libvirt last; silent is why it is of no use.
	asked  time.Duration
	silent string
	facts  *skerryv1.VmFacts
}

// kvm tells whether KVM works here, and if not why.
func (h *host) kvm() (bool, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.probed == 0 {
		return false, "it has not been tried yet"
	}
	return h.broken == "", h.broken
}

// answered takes in whether libvirt did.
func (h *host) answered(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent = ""
	if err != nil {
		h.silent = err.Error()
	}
}

// look finds out what the machine can do.
func (d *Driver) look(ctx context.Context) {
	if !exists(d.Address) && len(d.mustInstances()) == 0 {
		d.host.mu.Lock()
		d.host.facts, d.host.asked, d.host.silent = nil, 0, "" // no libvirt here, and nobody misses it
		d.host.mu.Unlock()
		return
	}
	d.probe(ctx)
	d.greet(ctx)
	facts := &skerryv1.VmFacts{Emulation: d.Emulation, Firmware: firmware(), Bridges: bridges()}
	facts.Kvm, _ = d.host.kvm()
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	d.host.facts = facts
	if d.host.silent != "" {
		d.host.facts = nil
	}
}

func (d *Driver) mustInstances() []string {
	ids, err := d.instances()
	if err != nil {
		d.Logger.Warn("the virtual machines of this node are not known", "error", err)
	}
	return ids
}

// probe tries KVM when that was not done for a while.
func (d *Driver) probe(ctx context.Context) {
	now := d.Env.Clock.Elapsed()
	d.host.mu.Lock()
	fresh := d.host.probed != 0 && now-d.host.probed < probeEvery
	d.host.mu.Unlock()
	if fresh {
		return
	}
	hung, err := tryKVM(ctx)
	if ctx.Err() != nil {
		return
	}
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	d.host.probed, d.host.hung, d.host.broken = now, hung, ""
	if err != nil {
		d.host.broken = err.Error()
	}
}

// greet libvirt, when nothing else tells whether it is there.
func (d *Driver) greet(ctx context.Context) {
	now := d.Env.Clock.Elapsed()
	d.host.mu.Lock()
	fresh := d.host.asked != 0 && now-d.host.asked < helloEvery
	d.host.mu.Unlock()
	if fresh {
		return
	}
	_, err := d.domains(ctx)
	if ctx.Err() != nil {
		return
	}
	d.host.answered(d.problem("", "virtual machines cannot be run", err))
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	d.host.asked = now
}

// Facts are what this node can do for virtual machines; nil: nothing.
func (d *Driver) Facts() *skerryv1.VmFacts {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	return proto.CloneOf(d.host.facts)
}

// Conditions say what needs attention.
func (d *Driver) Conditions() []*skerryv1.Condition {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	var all []*skerryv1.Condition
	if d.host.silent != "" {
		all = append(all, &skerryv1.Condition{Type: "LibvirtDown", Message: d.host.silent})
	}
	if d.host.hung {
		all = append(all, &skerryv1.Condition{Type: "KVMBroken", Message: d.host.broken})
	}
	return all
}

// firmware that virtual machines may boot with, by the descriptions that libvirt
// chooses from too.
func firmware() []string {
	found := []string{"bios"}
	files, _ := filepath.Glob(firmwareDir + "/*.json") // the pattern is right
	for _, file := range files {
		var described struct {
			Features []string
			Targets  []struct{ Architecture string }
		}
		text, err := os.ReadFile(file)
		if err != nil || json.Unmarshal(text, &described) != nil || len(described.Targets) == 0 || described.Targets[0].Architecture != "x86_64" {
			continue
		}
		found = append(found, manifest.UEFI)
		if slices.Contains(described.Features, "secure-boot") && slices.Contains(described.Features, "enrolled-keys") {
			found = append(found, manifest.SecureBoot)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// bridges of this machine, sorted.
func bridges() []string {
	links, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	var found []string
	for _, link := range links {
		if link.Type() == "bridge" {
			found = append(found, link.Attrs().Name)
		}
	}
	slices.Sort(found)
	return found
}

// checkHost refuses what this node lacks, before anything is made.
func (d *Driver) checkHost(vm *skerryv1.VirtualMachine) error {
	for i, nic := range vm.GetNetworks() {
		if nic.GetBridge() != "" && !slices.Contains(bridges(), nic.GetBridge()) {
			return problem.New(problem.Conflict, "", "network %d: this node has no bridge %s", i+1, nic.GetBridge()).
				WithHint("make it: ip link add %s type bridge", nic.GetBridge())
		}
	}
	if has := firmware(); vm.GetBoot().GetFirmware() == manifest.UEFI && !slices.Contains(has, manifest.UEFI) ||
		vm.GetBoot().GetSecureBoot() && !slices.Contains(has, manifest.SecureBoot) {
		return problem.New(problem.Conflict, "", "this node has no such UEFI firmware").WithHint("apt install ovmf")
	}
	for _, file := range []string{vm.GetBoot().GetKernel(), vm.GetBoot().GetInitrd()} {
		if file == "" {
			continue
		}
		if info, err := os.Stat(file); err != nil || !info.Mode().IsRegular() {
			return problem.New(problem.Conflict, "", "this node has no file %s", file)
		}
	}
	return nil
}
