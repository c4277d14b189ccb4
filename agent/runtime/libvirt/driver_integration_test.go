//go:build integration

package libvirt

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// patience bounds how long an emulated guest may take.
const patience = 2 * time.Minute

func until(t *testing.T, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !true(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s it is still not so that %s", patience, what)
		}
	}
}

// machineSpec of a guest that runs a command; without one it waits.
func machineSpec(t *testing.T, d *Driver, name string, command ...string) runtime.Spec {
	t.Helper()
	loaded, err := d.Import(t.Context(), bytes.NewReader(disk), "disk")
	must(t, err)
	spec := runtime.Spec{ID: "p." + name, Project: "p", Placement: name, Workload: "w", ImageDigest: loaded[0].Digest, CPUMilli: 1000}
	shape(&spec, command)
	return spec
}

func run(t *testing.T, d *Driver, spec runtime.Spec) {
	t.Helper()
	must(t, d.Prepare(t.Context(), spec))
	must(t, d.Start(t.Context(), spec.ID))
}

func state(t *testing.T, d *Driver, id string) runtime.State {
	t.Helper()
	all, err := d.List(t.Context())
	must(t, err)
	for _, i := range all {
		if i.ID == id {
			return i.State
		}
	}
	return 0
}

func inGuest(t *testing.T, d *Driver, id string, command ...string) string {
	t.Helper()
	var out bytes.Buffer
	until(t, "the guest's agent answers", func() bool { return d.PingAgent(t.Context(), id) == nil })
	code, err := d.Exec(t.Context(), id, runtime.Exec{Command: command, Stdout: &out, Stderr: &out})
	if err != nil || code != 0 {
		t.Fatalf("%v gave %d, %v: %s", command, code, err, out.String())
	}
	return out.String()
}

// What a guest writes survives its restart; what cloud-init is given is on a disk
// that the guest can read; a volume outlives it.
func TestDisksOfAGuest(t *testing.T) {
	d := newNode(t, theOne).open(t)
	spec := machineSpec(t, d, "vm-1")
	spec.VM.CloudInit = &skerryv1.CloudInit{UserData: "#cloud-config\nx: ]]><&'\"\n", SshKeys: []string{"ssh-ed25519 AAAA anna"}}
	spec.VM.Disks = []*skerryv1.Disk{{Name: "data", Volume: "data"}}
	spec.VM.DiskSize = "96Mi"
	spec.Volumes = map[string]runtime.Volume{"data": {SizeBytes: 1 << 20}}
	run(t, d, spec)
	if got := inGuest(t, d, spec.ID, "sh", "-c", "cat /sys/block/vd?/size /sys/block/vd?/serial"); !strings.HasPrefix(got, "196608\n2048\n") || !strings.Contains(got, "data") {
		t.Errorf("the guest sees disks of %q", got)
	}
	seed := inGuest(t, d, spec.ID, "sh", "-c", "ls /seed 2>/dev/null || busybox mkdir /seed; mount -t iso9660 /dev/vdc /seed; cat /seed/meta-data /seed/user-data")
	if !strings.Contains(seed, `"local-hostname":"vm-1"`) || !strings.HasSuffix(seed, "#cloud-config\nx: ]]><&'\"\n") {
		t.Errorf("the guest reads %q for cloud-init", seed)
	}
	for _, disk := range []string{"vda", "vdb"} {
		inGuest(t, d, spec.ID, "sh", "-c", "echo kept-on-"+disk+" | dd of=/dev/"+disk+" bs=512 seek=1 conv=fsync 2>/dev/null; sync")
	}
	must(t, d.Stop(t.Context(), spec.ID, patience))
	must(t, d.Remove(t.Context(), spec.ID))
	_, err := os.Stat(filepath.Join(d.volumeDir("p", "data"), volumeFile))
	must(t, err)
	run(t, d, spec)
	for _, disk := range []string{"vda", "vdb"} {
		if got := inGuest(t, d, spec.ID, "sh", "-c", "dd if=/dev/"+disk+" bs=512 skip=1 count=1 2>/dev/null | head -n 1"); got != "kept-on-"+disk+"\n" {
			t.Errorf("after a restart %s holds %q", disk, got)
		}
	}
	if err := d.DeleteVolume(t.Context(), "p", "data"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("deleting a volume in use gave %v", err)
	}
	must(t, d.Stop(t.Context(), spec.ID, 0))
	must(t, d.Remove(t.Context(), spec.ID))
	must(t, d.Forget(t.Context(), spec.ID))
	must(t, d.DeleteVolume(t.Context(), "p", "data"))
	spec.Volumes["data"] = runtime.Volume{SizeBytes: 1 << 20, Made: true}
	if err := d.Prepare(t.Context(), spec); problem.KindOf(err) != problem.Conflict {
		t.Errorf("a volume whose data is gone gave %v", err)
	}
}

// A domain that Skerry did not make is never touched, not even one with the name
// of ours.
func TestDomainsOfOthersAreLeftAlone(t *testing.T) {
	d := newNode(t, theOne).open(t)
	spec := machineSpec(t, d, "vm-1")
	const foreign = `<domain type="qemu"><name>skerry-p.vm-1</name><memory unit="MiB">32</memory><os><type arch="x86_64" machine="q35">hvm</type></os></domain>`
	var theirs golibvirt.Domain
	must(t, d.link.do(t.Context(), slowTime, func(l *golibvirt.Libvirt) (err error) {
		if theirs, err = l.DomainDefineXMLFlags(foreign, 0); err != nil {
			return err
		}
		return l.DomainCreate(theirs)
	}))
	t.Cleanup(func() {
		must(t, d.link.do(context.Background(), slowTime, func(l *golibvirt.Libvirt) error {
			_ = l.DomainDestroy(theirs)
			return l.DomainUndefine(theirs)
		}))
	})
	if got := state(t, d, spec.ID); got != 0 {
		t.Errorf("a domain of others is listed in state %d", got)
	}
	if err := d.Prepare(t.Context(), spec); err == nil {
		t.Error("a domain was defined over that of others")
	}
	must(t, d.Stop(t.Context(), spec.ID, 0))
	must(t, d.Remove(t.Context(), spec.ID))
	must(t, d.link.do(t.Context(), callTime, func(l *golibvirt.Libvirt) error {
		now, _, err := l.DomainGetState(theirs, 0)
		if golibvirt.DomainState(now) != golibvirt.DomainRunning {
			t.Errorf("the domain of others is in state %d", now)
		}
		return err
	}))
}

// libvirtd that is killed, or silent, takes nothing along: its guests are unknown
// until it answers, and then as they were.
func TestLibvirtdMayEnd(t *testing.T) {
	own := startDaemon(t, "k")
	d := newNode(t, own).open(t)
	spec := machineSpec(t, d, "vm-1")
	run(t, d, spec)
	begun := inGuest(t, d, spec.ID, "cat", "/proc/sys/kernel/random/boot_id")

	must(t, own.Freeze(true))
	begin := time.Now()
	if got := state(t, d, spec.ID); got != runtime.Unknown {
		t.Errorf("while libvirtd is silent it is in state %d", got)
	}
	if err := d.Stop(t.Context(), spec.ID, 0); problem.KindOf(err) != problem.Timeout && problem.KindOf(err) != problem.Unavailable {
		t.Errorf("a stop by a silent libvirtd gave %v", err)
	}
	if took := time.Since(begin); took > listTime+connectTime+callTime+20*time.Second {
		t.Errorf("a silent libvirtd held two calls for %s", took)
	}
	if conditions := d.Conditions(); len(conditions) != 1 || conditions[0].GetType() != "LibvirtDown" {
		t.Errorf("the conditions are %v", conditions)
	}
	must(t, own.Freeze(false))
	own.Kill()
	if got := state(t, d, spec.ID); got != runtime.Unknown {
		t.Errorf("without libvirtd it is in state %d", got)
	}
	must(t, own.Start())
	until(t, "it is known again", func() bool { return state(t, d, spec.ID) == runtime.Running })
	if again := inGuest(t, d, spec.ID, "cat", "/proc/sys/kernel/random/boot_id"); again != begun {
		t.Errorf("the guest booted again: %q, then %q", begun, again)
	}
	if len(d.Conditions()) != 0 {
		t.Errorf("the conditions are still %v", d.Conditions())
	}
	must(t, d.Remove(t.Context(), spec.ID))
}

func TestPauseAndConsole(t *testing.T) {
	d := newNode(t, theOne).open(t)
	spec := machineSpec(t, d, "vm-1", "sh", "-c", "read x; echo got $x; sleep 1000")
	run(t, d, spec)
	until(t, "the guest's agent answers", func() bool { return d.PingAgent(t.Context(), spec.ID) == nil })
	for range 2 {
		must(t, d.Pause(t.Context(), spec.ID))
	}
	if all, err := d.List(t.Context()); err != nil || all[0].State != runtime.Running || !all[0].Paused {
		t.Errorf("a paused guest is %+v, %v", all, err)
	}
	for range 2 {
		must(t, d.Resume(t.Context(), spec.ID))
	}
	in, keys := io.Pipe()
	out := &screen{seen: make(chan string, 100)}
	ended := make(chan error, 1)
	go func() {
		_, err := d.Exec(t.Context(), spec.ID, runtime.Exec{Console: true, Stdin: in, Stdout: out})
		ended <- err
	}()
	until(t, "the console is open", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.consoles[spec.ID]
	})
	if _, err := d.Exec(t.Context(), spec.ID, runtime.Exec{Console: true, Stdout: io.Discard}); problem.KindOf(err) != problem.Conflict {
		t.Errorf("a second console gave %v", err)
	}
	_, err := keys.Write([]byte("ping\n"))
	must(t, err)
	until(t, "the console answers", func() bool { return strings.Contains(out.text(), "got ping") })
	must(t, keys.Close())
	must(t, <-ended)
	until(t, "the log has it, too", func() bool {
		log, err := d.Logs(t.Context(), spec.ID, runtime.LogOptions{})
		must(t, err)
		text, err := io.ReadAll(log)
		must(t, err)
		return strings.Contains(string(text), "got ping")
	})
}

// screen gathers what a console shows.
type screen struct {
	seen chan string
	all  string
}

func (s *screen) Write(p []byte) (int, error) {
	s.seen <- string(p)
	return len(p), nil
}

func (s *screen) text() string {
	for {
		select {
		case more := <-s.seen:
			s.all += more
		default:
			return s.all
		}
	}
}

func TestImagesThatAreRefused(t *testing.T) {
	d := newNode(t, theOne).open(t)
	for name, content := range map[string][]byte{
		"cut short": disk[:len(disk)-100<<10],
		"no disk":   []byte(strings.Repeat("no disk\n", 1000)),
	} {
		if _, err := d.Import(t.Context(), bytes.NewReader(content), "bad"); problem.KindOf(err) != problem.Invalid {
			t.Errorf("%s: it gave %v", name, err)
		}
	}
	if _, err := d.Import(t.Context(), bytes.NewReader(disk), "../../etc/passwd"); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a name that leads out gave %v", err)
	}
	left, err := os.ReadDir(d.disks.temporary())
	must(t, err)
	if images, err := d.Images(t.Context()); err != nil || len(images)+len(left) != 0 {
		t.Errorf("what was refused left %v, %v, %v", images, left, err)
	}
}
