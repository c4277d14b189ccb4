//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
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
		for _, args := range [][]string{{"get", "placements"}, {"why", "db"}, {"status"}, {"events"}} {
			if !t.Failed() {
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			said, err := h.Skerry(ctx, nil, args...)
			cancel()
			t.Logf("skerry %v: %v\n%s", args, err, said)
		}
	})
	return h
}

// newMachineHarness is a site of three nodes with one exclusive virtual machine,
// and a witness outside that its guest reaches.
func newMachineHarness(t *testing.T) *harness {
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
`, vm, lease))
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

// fault is done to a host and undone. A host whose guard does not work is in no
// other trouble: what ends a machine then is the agent, by libvirt.
type fault struct {
	what     string
	do, undo func(h *harness, on *Host) error
}

func onGuard(signal syscall.Signal) func(*harness, *Host) error {
	return func(h *harness, on *Host) error {
		pids, err := on.Processes(h.t.Context(), "skerry", "guard")
		return errors.Join(err, on.Signal(h.t.Context(), signal, pids...))
	}
}

func onQEMU(signal syscall.Signal) func(*harness, *Host) error {
	return func(h *harness, on *Host) error {
		pids, err := on.Processes(h.t.Context(), QEMU)
		return errors.Join(err, on.Signal(h.t.Context(), signal, pids...))
	}
}

func heal(h *harness, _ *Host) error        { return h.Heal(h.t.Context()) }
func nothing(*harness, *Host) error         { return nil }
func startAgent(_ *harness, on *Host) error { return on.StartAgent() }

func cut(h *harness, on *Host) error { return h.Cut(h.t.Context(), []*Host{on}, h.others(on)) }

func deafen(h *harness, on *Host) error {
	var err error
	for _, other := range h.others(on) {
		err = errors.Join(err, on.Deafen(h.t.Context(), other))
	}
	return err
}

func silence(h *harness, on *Host) error {
	var err error
	for _, other := range h.others(on) {
		err = errors.Join(err, other.Deafen(h.t.Context(), on))
	}
	return err
}

func cutFromOne(h *harness, on *Host) error {
	return h.Cut(h.t.Context(), []*Host{on}, h.others(on)[:1])
}

func both(faults ...func(*harness, *Host) error) func(*harness, *Host) error {
	return func(h *harness, on *Host) error {
		var err error
		for _, f := range faults {
			err = errors.Join(err, f(h, on))
		}
		return err
	}
}

func of(f func(*Host) error) func(*harness, *Host) error {
	return func(_ *harness, on *Host) error { return f(on) }
}

func boot(h *harness, on *Host) error { return errors.Join(on.Boot(h.t.Context()), on.StartAgent()) }

var machineFaults = []fault{
	{"cut off", cut, heal},
	{"deaf", deafen, heal},
	{"unheard", silence, heal},
	{"cut off from one", cutFromOne, heal},
	{"agent killed", of((*Host).KillAgent), startAgent},
	{"agent stopped", of((*Host).PauseAgent), of((*Host).ResumeAgent)},
	{"guard killed", onGuard(syscall.SIGKILL), nothing},
	{"guard stopped", onGuard(syscall.SIGSTOP), onGuard(syscall.SIGCONT)},
	{"QEMU stopped", onQEMU(syscall.SIGSTOP), onQEMU(syscall.SIGCONT)},
	{"QEMU killed", onQEMU(syscall.SIGKILL), nothing},
	{"libvirtd killed", of((*Host).KillLibvirt), of((*Host).StartLibvirt)},
	{"libvirtd stopped", of((*Host).PauseLibvirt), of((*Host).ResumeLibvirt)},
	{"power cut", of((*Host).PowerOff), boot},
	{"agent and QEMU stopped", both(of((*Host).PauseAgent), onQEMU(syscall.SIGSTOP)), both(onQEMU(syscall.SIGCONT), of((*Host).ResumeAgent))},
	{"cut off, agent stopped", both(cut, of((*Host).PauseAgent)), both(of((*Host).ResumeAgent), heal)},
	{"cut off, libvirtd stopped", both(cut, of((*Host).PauseLibvirt)), both(heal, of((*Host).ResumeLibvirt))},
	{"cut off, libvirtd killed", both(cut, of((*Host).KillLibvirt)), both(of((*Host).StartLibvirt), heal)},
	{"agent and libvirtd killed", both(of((*Host).KillAgent), of((*Host).KillLibvirt)), both(of((*Host).StartLibvirt), startAgent)},
}

// TestExclusiveMachinesThroughFaults is `make chaos-vm`: as many faults as are
// asked for, of random shape and length, at the node of an exclusive machine, at
// the coordinator, or anywhere.
func TestExclusiveMachinesThroughFaults(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("SKERRY_CHAOS_VM"))
	if err != nil {
		t.Skip("make chaos-vm runs it")
	}
	seed, err := strconv.ParseUint(os.Getenv("SKERRY_CHAOS_SEED"), 10, 64)
	if err != nil {
		t.Fatal("SKERRY_CHAOS_SEED must be a number")
	}
	random := rand.New(rand.NewPCG(seed, 0))
	h := newMachineHarness(t)
	for n := range count {
		on, _ := h.running()
		f, length := machineFaults[random.IntN(len(machineFaults))], time.Duration(random.Int64N(int64(5*lease/2)))
		switch random.IntN(5) {
		case 0:
			coordinator, _, err := h.Coordinator(t.Context())
			h.must(err)
			on = coordinator
		case 1:
			on = h.Hosts[random.IntN(len(h.Hosts))]
		}
		t.Logf("%d of %d: %s, %s, for %s", n+1, count, on.Name, f.what, length.Round(time.Millisecond))
		h.must(f.do(h, on))
		h.pause(length)
		h.must(f.undo(h, on))
		if h.wantOnce(); t.Failed() {
			t.Fatalf("fault %d of seed %d", n+1, seed)
		}
	}
	h.running()
	h.wantOnce()
	t.Logf("%d faults with seed %d, %d lives, %d overlaps", count, seed, len(h.witness.Lives()), len(h.witness.Overlaps()))
}
