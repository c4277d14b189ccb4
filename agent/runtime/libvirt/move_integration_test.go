//go:build integration

package libvirt

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/libvirt/libvirttest"
	"skerry.dev/shared/problem"
)

// join what connects here with a socket of the other end. left bounds how many
// bytes go through; negative: all.
func join(t *testing.T, here, there string, left int64) {
	t.Helper()
	listener, err := net.Listen("unix", here)
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", there)
			if err != nil {
				_ = from.Close()
				continue
			}
			back := func() { _, _ = io.Copy(from, to); _ = from.Close() }
			go back()
			go func() {
				if left < 0 {
					_, _ = io.Copy(to, from)
				} else {
					_, _ = io.CopyN(to, from, left)
					_ = from.Close()
				}
				_ = to.Close()
			}()
		}
	}()
}

func stateOf(t *testing.T, d *Driver, id string) runtime.Instance {
	t.Helper()
	all, err := d.List(t.Context())
	must(t, err)
	for _, i := range all {
		if i.ID == id {
			return i
		}
	}
	return runtime.Instance{}
}

// TestAMachineMoves from one libvirtd to another with its memory and its disk; what
// fails on the way leaves it where it was.
func TestAMachineMoves(t *testing.T) {
	other, err := libvirttest.Start(filepath.Join(testDir, "m"))
	must(t, err)
	t.Cleanup(other.Stop)
	source, target := newNode(t, theOne).open(t), newNode(t, other).open(t)
	for _, d := range []*Driver{source, target} {
		d.Belong("harbour")
	}
	spec := machineSpec(t, source, "vm-1")
	machineSpec(t, target, "vm-1") // its image
	run(t, source, spec)
	until(t, "the guest's agent answers", func() bool { return source.PingAgent(t.Context(), spec.ID) == nil })
	begun := inGuest(t, source, spec.ID, "cat", "/proc/sys/kernel/random/boot_id")
	inGuest(t, source, spec.ID, "sh", "-c", "echo kept | dd of=/dev/vda bs=512 seek=9 conv=fsync 2>/dev/null")
	runs := func(d *Driver) {
		t.Helper()
		if again := inGuest(t, d, spec.ID, "cat", "/proc/sys/kernel/random/boot_id"); again != begun {
			t.Errorf("the guest booted again: %q, then %q", begun, again)
		}
	}
	may := func() error { return nil }
	begin := func() (runtime.Departure, runtime.Arrival) {
		t.Helper()
		departure, err := source.Depart(t.Context(), spec.ID)
		must(t, err)
		arrival, err := target.Arrive(t.Context(), spec, departure.Offer())
		must(t, err)
		return departure, arrival
	}
	nothingThere := func() {
		t.Helper()
		until(t, "nothing is left at the other end", func() bool { return stateOf(t, target, spec.ID).ID == "" && !target.Has(spec.ID) })
	}

	departure, arrival := begin()
	for i, here := range departure.Sockets() {
		join(t, here, arrival.Sockets()[i], 1<<20) // the line breaks
	}
	if _, err := departure.Copy(t.Context(), arrival.Answer()); err == nil {
		t.Error("it was copied over a line that breaks")
	}
	arrival.Close()
	departure.Close()
	nothingThere()
	runs(source)

	departure, arrival = begin()
	for i, here := range departure.Sockets() {
		join(t, here, arrival.Sockets()[i], -1)
	}
	rest, err := departure.Copy(t.Context(), arrival.Answer())
	must(t, err)
	if err := arrival.Finish(t.Context(), rest, func() error { return errors.New("no lease") }); err == nil || !strings.Contains(err.Error(), "no lease") {
		t.Errorf("without a lease it ended with %v", err)
	}
	must(t, departure.Leave(t.Context()))
	if got := stateOf(t, source, spec.ID).State; got != runtime.Leaving {
		t.Errorf("after it was handed over it is in state %d", got)
	}
	arrival.Close()
	must(t, departure.Stay(t.Context()))
	departure.Close()
	nothingThere()
	runs(source)

	departure, arrival = begin()
	for i, here := range departure.Sockets() {
		join(t, here, arrival.Sockets()[i], -1)
	}
	rest, err = departure.Copy(t.Context(), arrival.Answer())
	must(t, err)
	must(t, departure.Leave(t.Context()))
	standing := time.Now()
	must(t, arrival.Finish(t.Context(), rest, may))
	t.Logf("the switch took %s", time.Since(standing))
	arrival.Close()
	departure.Close()
	runs(target)
	if got := inGuest(t, target, spec.ID, "sh", "-c", "dd if=/dev/vda bs=512 skip=9 count=1 2>/dev/null | head -n 1"); got != "kept\n" {
		t.Errorf("its disk holds %q", got)
	}
	if got := stateOf(t, target, spec.ID); got.State != runtime.Running || got.SpecHash != spec.Hash() {
		t.Errorf("at its end it is %+v", got)
	}
	if got := stateOf(t, source, spec.ID).State; got != runtime.Leaving {
		t.Errorf("where it was it is in state %d", got)
	}
	// It stands still there until it is gone, also when it is ended in order.
	if err := source.Resume(t.Context(), spec.ID); problem.KindOf(err) != problem.Conflict {
		t.Errorf("to let it go on where it was gave %v", err)
	}
	stopping := time.Now()
	must(t, source.Stop(t.Context(), spec.ID, time.Hour))
	if took := time.Since(stopping); took > time.Minute {
		t.Errorf("where it was it was asked to end, for %s", took)
	}
	must(t, source.Remove(t.Context(), spec.ID))
	must(t, source.Forget(t.Context(), spec.ID))
	runs(target)
}

// When the libvirtd of either end is killed while a machine is copied, it goes on
// where it was, and nothing is left at the other end.
func TestLibvirtdIsKilledInTheMiddleOfAMove(t *testing.T) {
	daemons := []*libvirttest.Daemon{}
	drivers := []*Driver{}
	for _, name := range []string{"from", "to"} {
		daemon, err := libvirttest.Start(filepath.Join(testDir, name))
		must(t, err)
		t.Cleanup(daemon.Stop)
		d := newNode(t, daemon).open(t)
		d.Belong("harbour")
		daemons, drivers = append(daemons, daemon), append(drivers, d)
	}
	source, target := drivers[0], drivers[1]
	spec := machineSpec(t, source, "vm-1")
	machineSpec(t, target, "vm-1") // its image
	run(t, source, spec)
	up := func() bool { return source.PingAgent(t.Context(), spec.ID) == nil }
	until(t, "the guest's agent answers", up)
	begun := inGuest(t, source, spec.ID, "cat", "/proc/sys/kernel/random/boot_id")
	for i, end := range []string{"source", "target"} {
		departure, err := source.Depart(t.Context(), spec.ID)
		must(t, err)
		arrival, err := target.Arrive(t.Context(), spec, departure.Offer())
		must(t, err)
		for j, here := range departure.Sockets() {
			join(t, here, arrival.Sockets()[j], -1)
		}
		killed := make(chan struct{})
		time.AfterFunc(200*time.Millisecond, func() {
			daemons[i].Kill()
			close(killed)
		})
		rest, err := departure.Copy(t.Context(), arrival.Answer())
		<-killed
		if err == nil { // it was faster; then the other end does not take it over
			t.Logf("the copy was faster than the end of libvirtd at the %s: %d bytes for the other end", end, len(rest))
		}
		must(t, daemons[i].Start())
		arrival.Close()
		departure.Close()
		until(t, "nothing is left at the other end", func() bool {
			_ = errors.Join(target.Remove(t.Context(), spec.ID), target.Forget(t.Context(), spec.ID)) // as the agent does what has no order
			return stateOf(t, target, spec.ID).ID == "" && !target.Has(spec.ID)
		})
		until(t, "the guest goes on", up)
		if now := inGuest(t, source, spec.ID, "cat", "/proc/sys/kernel/random/boot_id"); now != begun {
			t.Errorf("after the end of libvirtd at the %s the guest booted again: %q, then %q", end, begun, now)
		}
		if got := stateOf(t, source, spec.ID).State; got != runtime.Running {
			t.Errorf("after the end of libvirtd at the %s it is in state %d", end, got)
		}
	}
	must(t, errors.Join(source.Stop(t.Context(), spec.ID, 0), source.Remove(t.Context(), spec.ID), source.Forget(t.Context(), spec.ID)))
}
