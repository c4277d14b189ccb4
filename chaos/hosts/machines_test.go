//go:build integration

package hosts

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newMachineSite is a site of three nodes that run virtual machines.
func newMachineSite(t *testing.T) *harness {
	t.Helper()
	r := newRig(t, func(o *Options) { o.Machines = true })
	if err := r.Up(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	h := watched(t, r)
	t.Cleanup(func() {
		if t.Failed() {
			tellMachines(t, r)
		}
	})
	return h
}

// tellMachines prints what the site says of its machine, and the guests of
// themselves.
func tellMachines(t *testing.T, r *Rig) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{{"why", "db"}, {"status"}, {"events"}} {
		said, err := r.Skerry(ctx, nil, args...)
		t.Logf("skerry %v: %v\n%s", args, err, said)
	}
	for _, host := range r.Hosts {
		placements, _ := host.guests() // a host that is off has none
		for _, placement := range placements {
			said, err := r.Skerry(ctx, nil, "exec", placement, "--", "sh", "-c", "ip address; ip route; cat /proc/[0-9]*/cmdline")
			t.Logf("%s on %s says: %v\n%s\nand on its console:\n%s", placement, host.Name, err, said, host.consoleEnd(placement))
		}
		if threads, err := host.Command(ctx, nil, "sh", "-c", "ps -eLo pid,stat,time,wchan:20,comm | grep -e qemu -e CPU; tail -n 20 "+host.libvirtDir()+"/log"); err == nil {
			t.Logf("QEMU's threads on %s, and what libvirt says:\n%s", host.Name, threads)
		}
	}
}

// consoleEnd is the last that the guest of a placement has written on this host.
func (h *Host) consoleEnd(placement string) []byte {
	const end = 2000
	text, _ := os.ReadFile(h.consoleFile(placement)) // it may have gone meanwhile
	return text[max(0, len(text)-end):]
}

// newMachineHarness is a site of three nodes with one exclusive virtual machine,
// and a witness outside that its guest reaches. more is for its manifest.
func newMachineHarness(t *testing.T, more ...string) *harness {
	t.Helper()
	h := newMachineSite(t)
	vm, err := h.LoadMachine(t.Context(), Machine{Script: h.witness.Script(), Memory: "128Mi"})
	h.must(err)
	apply(t, h.Rig, fmt.Sprintf(`
kind: Workload
name: db
vm: %s
stopGrace: 500ms
partition: {mode: exclusive, lease: %s}
%s
`, vm, lease, strings.Join(more, "\n")))
	return h
}

// TestAnExclusiveMachineRunsOnce does to the node of an exclusive virtual machine
// what its promise is about. `make chaos-vm` does more of it.
func TestAnExclusiveMachineRunsOnce(t *testing.T) {
	h := newMachineHarness(t)
	h.scenario("its agent is killed and back in time", func(t *testing.T) {
		on, before := h.running()
		h.must(on.KillAgent())
		h.must(on.StartAgent())
		h.pause(2 * lease)
		h.undisturbed(t, before)
	})
	h.scenario("its node is cut off, and libvirt is silent", func(t *testing.T) {
		on, _ := h.running()
		h.must(on.PauseLibvirt())
		h.must(h.Cut(t.Context(), []*Host{on}, h.others(on)))
		t.Logf("replaced after %s", h.replaced(time.Now()))
		h.must(on.ResumeLibvirt())
		h.must(h.Heal(t.Context()))
	})
	h.scenario("its agent and its QEMU are stopped for longer than its lease", func(t *testing.T) {
		on, _ := h.running()
		h.must(on.PauseAgent())
		h.must(onQEMU(syscall.SIGSTOP)(h, on))
		t.Logf("replaced after %s", h.replaced(time.Now()))
		h.must(onQEMU(syscall.SIGCONT)(h, on))
		h.must(on.ResumeAgent())
	})
	h.scenario("its machine loses power", func(t *testing.T) {
		on, _ := h.running()
		h.must(on.PowerOff())
		t.Logf("replaced after %s", h.replaced(time.Now()))
		h.must(on.Boot(t.Context()))
		h.must(on.StartAgent())
	})
	t.Logf("the lives of db:\n%s", h.witness.Tell())
}
