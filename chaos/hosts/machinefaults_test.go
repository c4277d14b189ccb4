//go:build integration

package hosts

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

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
// asked for, of random shape and length, on as many sites side by side as are asked
// for. Each has one exclusive machine, which is told to move before every other
// fault.
func TestExclusiveMachinesThroughFaults(t *testing.T) {
	number := func(name string) int {
		n, err := strconv.Atoi(os.Getenv(name))
		if err != nil || n < 0 {
			t.Fatalf("%s must be a number", name)
		}
		return n
	}
	if os.Getenv("SKERRY_CHAOS_VM") == "" {
		t.Skip("make chaos-vm runs it")
	}
	count, seed, sites := number("SKERRY_CHAOS_VM"), number("SKERRY_CHAOS_SEED"), max(1, number("SKERRY_CHAOS_SITES"))
	for site := range sites {
		t.Run(strconv.Itoa(site+1), func(t *testing.T) {
			t.Parallel()
			// Emulated guests hang at times when they have moved. As for people, a check
			// finds it.
			c := &chaosRun{harness: newMachineHarness(t, "health: {guestAgent: {}, interval: 10s, timeout: 5s}"), random: rand.New(rand.NewPCG(uint64(seed), uint64(site)))}
			share, done := (count+site)/sites, 0
			for ; done < share && !late(t); done++ {
				t.Logf("%d of %d, seed %d, at %s:", done+1, share, seed, time.Now().Format("15:04:05"))
				c.strike()
				if c.wantOnce(); t.Failed() {
					t.Fatalf("fault %d of seed %d", done+1, seed)
				}
			}
			c.running()
			c.wantOnce()
			t.Logf("%d faults with seed %d, %d lives, moved %d times of %d, %d overlaps",
				done, seed, len(c.witness.Lives()), c.moved, c.told, len(c.witness.Overlaps()))
		})
	}
}

// late: the time of the test is about to be over, and what is on its way needs some.
func late(t *testing.T) bool {
	deadline, ok := t.Deadline()
	return ok && time.Until(deadline) < 2*time.Minute
}

// chaosRun is one site that faults happen to.
type chaosRun struct {
	*harness
	random *rand.Rand
	// told to move so often, and moved.
	told, moved int
}

// strike once: perhaps in the middle of a move, or when it has just ended.
func (c *chaosRun) strike() {
	from, life := c.running()
	to := c.others(from)[c.random.IntN(len(c.Hosts)-1)]
	if c.random.IntN(2) == 0 {
		ended, await := c.move(from, to, life)
		defer await()
		select {
		case <-ended:
		case <-time.After(c.upTo(moveTime / 2)):
		case <-c.t.Context().Done():
		}
	}
	on := c.victim(from, to)
	f, length := machineFaults[c.random.IntN(len(machineFaults))], c.upTo(5*lease/2)
	c.t.Logf("%s, %s, for %s", on.Name, f.what, length.Round(time.Millisecond))
	c.must(f.do(c.harness, on))
	c.pause(length)
	c.must(f.undo(c.harness, on))
}

func (c *chaosRun) upTo(limit time.Duration) time.Duration {
	return time.Duration(c.random.Int64N(int64(limit)))
}

// victim of a fault: most often one that has the machine or is to get it.
func (c *chaosRun) victim(from, to *Host) *Host {
	switch c.random.IntN(6) {
	case 0:
		coordinator, _, err := c.Coordinator(c.t.Context())
		c.must(err)
		return coordinator
	case 1:
		return c.Hosts[c.random.IntN(len(c.Hosts))]
	case 2, 3:
		return to
	}
	return from
}

// moveTime is what a move gets after a fault is over, before nobody waits for it.
const moveTime = 20 * time.Second

// move begins to move the machine. await waits for it and for the site to be well
// again, and sees where the machine is.
func (c *chaosRun) move(from, to *Host, life Life) (ended <-chan struct{}, await func()) {
	c.told++
	ctx, cancel := context.WithCancel(c.t.Context())
	over := make(chan struct{})
	var said string
	go func() {
		defer close(over)
		out, err := c.Skerry(ctx, nil, "vm", "migrate", "db", "--to", to.Name)
		if err != nil {
			out = err.Error()
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		said = lines[len(lines)-1]
	}()
	c.t.Logf("it is to move from %s to %s", from.Name, to.Name)
	return over, func() {
		c.running()
		stop := time.AfterFunc(moveTime, cancel)
		<-over
		stop.Stop()
		cancel()
		on, now := c.running()
		how := "anew"
		if now.Name == life.Name {
			how = "as it was"
			if on != from {
				c.moved++
			}
		}
		c.t.Logf("it is on %s, %s; the move: %s", on.Name, how, said)
	}
}
