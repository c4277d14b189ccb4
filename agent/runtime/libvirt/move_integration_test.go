//go:build integration

package libvirt

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/libvirt/libvirttest"
	"skerry.dev/agent/runtime/snapshot"
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

// pair of drivers of one site, each of another libvirtd.
func pair(t *testing.T, from, to *libvirttest.Daemon) (source, target *Driver) {
	t.Helper()
	source, target = newNode(t, from).open(t), newNode(t, to).open(t)
	source.Belong("harbour")
	target.Belong("harbour")
	return source, target
}

// TestAMachineMoves from one libvirtd to another with its memory, its disk and its
// volume; what fails on the way leaves it where it was.
func TestAMachineMoves(t *testing.T) {
	source, target := pair(t, theOne, startDaemon(t, "m"))
	spec := withVolume(t, source, "vm-1")
	machineSpec(t, target, "vm-1") // its image
	run(t, source, spec)
	until(t, "the guest's agent answers", func() bool { return source.PingAgent(t.Context(), spec.ID) == nil })
	begun := inGuest(t, source, spec.ID, "cat", "/proc/sys/kernel/random/boot_id")
	inGuest(t, source, spec.ID, "sh", "-c", "echo kept | dd of=/dev/vda bs=512 seek=9 conv=fsync 2>/dev/null")
	put(t, source, spec.ID, "vdb", "data")
	holds := func(d *Driver, want int) {
		t.Helper()
		held, err := d.HeldVolumes()
		must(t, err)
		if len(held) != want || want == 1 && (held[0].Project != "p" || held[0].Name != "vm-1") {
			t.Errorf("it holds %+v, wanted %d volumes", held, want)
		}
	}
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
		holds(source, 1)
		holds(target, 0)
		if dir := target.volumeDir("p", "vm-1"); exists(dir) {
			t.Errorf("%s is left at the other end", dir)
		}
	}

	// What somebody has there under that name is left alone.
	dir := target.volumeDir("p", "vm-1")
	must(t, errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, volumeFile), []byte("of others"), 0o600)))
	refused, err := source.Depart(t.Context(), spec.ID)
	must(t, err)
	if _, err := target.Arrive(t.Context(), spec, refused.Offer()); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), dir) {
		t.Errorf("where there is a volume of that name it is taken in with %v", err)
	}
	refused.Close()
	if text, err := os.ReadFile(filepath.Join(dir, volumeFile)); string(text) != "of others" {
		t.Errorf("what somebody had there is %q, %v", text, err)
	}
	must(t, os.RemoveAll(dir))
	without := spec
	without.VM = proto.CloneOf(spec.VM)
	without.VM.Disks = nil
	refused, err = source.Depart(t.Context(), spec.ID)
	must(t, err)
	if _, err := target.Arrive(t.Context(), without, refused.Offer()); problem.KindOf(err) != problem.Conflict {
		t.Errorf("a volume that it is not to have is taken in with %v", err)
	}
	refused.Close()
	refused, err = source.Depart(t.Context(), spec.ID)
	must(t, err)
	stolen := strings.ReplaceAll(string(refused.Offer()), rootFile, "../../secret.raw")
	if _, err := target.Arrive(t.Context(), spec, []byte(stolen)); problem.KindOf(err) != problem.Invalid {
		t.Errorf("with a file that is not its own it is taken in with %v", err)
	}
	refused.Close()
	must(t, source.volumeSnapshots("p", "vm-1").Create("kept", func(string) (snapshot.Snapshot, error) { return snapshot.Snapshot{}, nil }))
	if _, err := source.Depart(t.Context(), spec.ID); problem.KindOf(err) != problem.Conflict {
		t.Errorf("with a snapshot of its volume it leaves with %v", err)
	}
	must(t, source.volumeSnapshots("p", "vm-1").Delete("kept"))
	runs(source)

	departure, arrival := begin()
	holds(target, 0) // what is still coming is not held
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
	if got := got(t, target, spec.ID, "vdb"); got != "data\n" {
		t.Errorf("its volume holds %q", got)
	}
	put(t, target, spec.ID, "vdb", "more")
	holds(target, 1)
	if err := source.DeleteVolume(t.Context(), "p", "vm-1"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("where it was its volume was deleted before it was gone: %v", err)
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
	holds(source, 1) // until it is told to delete it
	must(t, source.DeleteVolume(t.Context(), "p", "vm-1"))
	holds(source, 0)
	runs(target)

	// It is the target's as any other, also when it begins anew there.
	must(t, target.Stop(t.Context(), spec.ID, 0))
	must(t, target.Remove(t.Context(), spec.ID))
	holds(target, 1)
	spec.Volumes = map[string]runtime.Volume{"vm-1": {SizeBytes: 8 << 20, Made: true}}
	run(t, target, spec)
	until(t, "the guest's agent answers", func() bool { return target.PingAgent(t.Context(), spec.ID) == nil })
	if got := got(t, target, spec.ID, "vdb"); got != "more\n" {
		t.Errorf("its volume holds %q", got)
	}
}

// What the record says when a node ends in the middle of a switch decides whose the
// machine is: where its domain is, it is the target's, with its volume; where there
// is none it never ran, and nothing is left.
func TestANodeEndsInTheMiddleOfASwitch(t *testing.T) {
	d := newNode(t, theOne).open(t)
	d.Belong("harbour")
	spec := withVolume(t, d, "vm-1")
	must(t, d.Prepare(t.Context(), spec))
	taken := func(r *record) { r.Arriving, r.Taken, r.Started = true, true, time.Now() }
	must(t, d.mark(spec.ID, taken))
	if got := stateOf(t, d, spec.ID).State; got != runtime.Exited {
		t.Errorf("where its domain is it is in state %d", got)
	}
	if r, err := d.read(spec.ID); err != nil || r.Arriving || r.Taken {
		t.Errorf("its record is %+v, %v", r, err)
	}
	must(t, d.mark(spec.ID, taken))
	must(t, d.Remove(t.Context(), spec.ID)) // whoever did not look first
	if held, err := d.HeldVolumes(); err != nil || len(held) != 1 {
		t.Errorf("its volumes are %+v, %v", held, err)
	}
	spec.Volumes = map[string]runtime.Volume{"vm-1": {SizeBytes: 8 << 20, Made: true}}
	must(t, d.Prepare(t.Context(), spec))
	must(t, d.undefine(t.Context(), spec.ID))
	must(t, d.mark(spec.ID, taken))
	if got := stateOf(t, d, spec.ID).State; got != runtime.Broken {
		t.Errorf("where there is no domain it is in state %d", got)
	}
	must(t, d.Remove(t.Context(), spec.ID))
	if held, err := d.HeldVolumes(); err != nil || len(held) != 0 || exists(d.volumeDir("p", "vm-1")) {
		t.Errorf("what never ran has left %+v, %v", held, err)
	}
}

// When the libvirtd of either end is killed while a machine is copied, it goes on
// where it was, and nothing is left at the other end.
func TestLibvirtdIsKilledInTheMiddleOfAMove(t *testing.T) {
	daemons := []*libvirttest.Daemon{startDaemon(t, "from"), startDaemon(t, "to")}
	source, target := pair(t, daemons[0], daemons[1])
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

// An agent ends after the copy, before it noted that it hands over: the machine stands
// still, and the next agent sees that.
func TestWhatAnAgentLeftStandingStillGoesOn(t *testing.T) {
	source, target := pair(t, theOne, startDaemon(t, "still"))
	spec := machineSpec(t, source, "vm-1")
	machineSpec(t, target, "vm-1") // its image
	run(t, source, spec)
	up := func() bool { return source.PingAgent(t.Context(), spec.ID) == nil }
	until(t, "the guest's agent answers", up)
	leaving, err := source.Depart(t.Context(), spec.ID)
	must(t, err)
	arrival, err := target.Arrive(t.Context(), spec, leaving.Offer())
	must(t, err)
	for i, here := range leaving.Sockets() {
		join(t, here, arrival.Sockets()[i], -1)
	}
	_, err = leaving.Copy(t.Context(), arrival.Answer())
	must(t, err)
	must(t, leaving.(*departure).s.conn.Close()) // all that libvirt sees of the end of an agent
	arrival.Close()
	if got := stateOf(t, source, spec.ID); got.State != runtime.Running || !got.Paused {
		t.Errorf("it stands still, and is %+v", got)
	}
	must(t, source.Resume(t.Context(), spec.ID))
	until(t, "the guest's agent answers", up)
	if got := stateOf(t, source, spec.ID); got.State != runtime.Running || got.Paused {
		t.Errorf("it goes on, and is %+v", got)
	}
}
