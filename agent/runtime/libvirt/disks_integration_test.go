//go:build integration

package libvirt

import (
	"bytes"
	"errors"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func silent(int64, int64) {}

// put text onto a disk, from inside the guest.
func put(t *testing.T, d *Driver, id, disk, text string) {
	t.Helper()
	inGuest(t, d, id, "sh", "-c", "echo "+text+" | dd of=/dev/"+disk+" bs=512 seek=1 conv=fsync 2>/dev/null; sync")
}

func got(t *testing.T, d *Driver, id, disk string) string {
	t.Helper()
	return inGuest(t, d, id, "sh", "-c", "dd if=/dev/"+disk+" bs=512 skip=1 count=1 2>/dev/null | head -n 1")
}

// withVolume is a guest with a root disk and a volume, vdb.
func withVolume(t *testing.T, d *Driver, name string) runtime.Spec {
	t.Helper()
	spec := machineSpec(t, d, name)
	spec.VM.Disks = []*skerryv1.Disk{{Name: "data", Volume: name}}
	spec.Volumes = map[string]runtime.Volume{name: {SizeBytes: 8 << 20}}
	return spec
}

func TestSnapshotsAndExports(t *testing.T) {
	d := newNode(t, theOne).open(t)
	spec := withVolume(t, d, "vm-1")
	run(t, d, spec)
	for _, disk := range []string{"vda", "vdb"} {
		put(t, d, spec.ID, disk, "one")
	}
	must(t, d.Snapshot(t.Context(), spec.ID, "running", silent))
	for _, disk := range []string{"vda", "vdb"} {
		put(t, d, spec.ID, disk, "two")
	}
	all, err := d.List(t.Context())
	if err != nil || len(all[0].Snapshots) != 1 || all[0].Snapshots[0].Name != "running" || !all[0].Snapshots[0].Quiet || all[0].Snapshots[0].Used == 0 {
		t.Errorf("it is %+v, %v", all, err)
	}
	if err := d.RestoreSnapshot(t.Context(), spec.ID, "running", silent); problem.KindOf(err) != problem.Conflict {
		t.Errorf("restoring under a guest that runs gave %v", err)
	}
	for _, want := range []struct{ disk, snapshot, text string }{{"", "", "two\n"}, {"data", "", "two\n"}, {"", "running", "one\n"}, {"data", "running", "one\n"}} {
		if text := exported(t, d, spec.ID, runtime.Export{Disk: want.disk, Snapshot: want.snapshot}); text != want.text {
			t.Errorf("the export of %+v holds %q", want, text)
		}
	}
	shot, err := d.Screenshot(t.Context(), spec.ID)
	must(t, err)
	if screen, err := png.Decode(bytes.NewReader(shot)); err != nil || screen.Bounds().Dx() < 320 {
		t.Errorf("the screenshot is %v, %v", screen, err)
	}
	must(t, d.Stop(t.Context(), spec.ID, patience))
	must(t, d.Snapshot(t.Context(), spec.ID, "off", silent))
	if text := exported(t, d, spec.ID, runtime.Export{}); text != "two\n" {
		t.Errorf("the export of one that is off holds %q", text)
	}
	for snapshot, want := range map[string]string{"running": "one\n", "off": "two\n"} {
		must(t, d.RestoreSnapshot(t.Context(), spec.ID, snapshot, silent))
		must(t, d.Remove(t.Context(), spec.ID)) // as a start by power does
		run(t, d, spec)
		for _, disk := range []string{"vda", "vdb"} {
			if text := got(t, d, spec.ID, disk); text != want {
				t.Errorf("restored from %s, %s holds %q", snapshot, disk, text)
			}
		}
		must(t, d.Stop(t.Context(), spec.ID, 0))
	}
	must(t, d.DeleteSnapshot(t.Context(), spec.ID, "off"))
	if err := d.DeleteSnapshot(t.Context(), spec.ID, "off"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("deleting it again gave %v", err)
	}
	left, err := os.ReadDir(d.exportsDir())
	if err != nil || len(left) != 0 {
		t.Errorf("exports left %v, %v", left, err)
	}
	must(t, d.Remove(t.Context(), spec.ID))
	must(t, d.Forget(t.Context(), spec.ID))
	if exists(d.diskDir(spec.ID)) {
		t.Error("its snapshots were left")
	}
}

// exported is what the second sector of a disk holds, which must be whole in one
// file.
func exported(t *testing.T, d *Driver, id string, what runtime.Export) string {
	t.Helper()
	content, size, err := d.Export(t.Context(), id, what, silent)
	must(t, err)
	counted := &counter{ReadCloser: content}
	text := secondSector(t, counted)
	if counted.n != size {
		t.Errorf("%d bytes came, of %d", counted.n, size)
	}
	return text
}

type counter struct {
	io.ReadCloser
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}

// secondSector of a disk that was exported, up to the first zero.
func secondSector(t *testing.T, content io.ReadCloser) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(file)
	must(t, err)
	_, err = io.Copy(f, content)
	must(t, errors.Join(err, content.Close(), f.Close()))
	if _, _, err := checkDisk(t.Context(), file); err != nil {
		t.Errorf("the export would not be taken in as an image: %v", err)
	}
	out, err := exec.Command("qemu-img", "convert", "-f", "qcow2", "-O", "raw", file, file+".raw").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	raw, err := os.ReadFile(file + ".raw")
	must(t, err)
	text, _, _ := bytes.Cut(raw[512:1024], []byte{0})
	return string(text)
}

// Disks and cards come and go while a guest runs, and are in its next domain.
func TestDevicesComeAndGo(t *testing.T) {
	d := newNode(t, theOne).open(t)
	spec := withVolume(t, d, "vm-1")
	run(t, d, spec)
	put(t, d, spec.ID, "vdb", "kept")
	begun := inGuest(t, d, spec.ID, "cat", "/proc/sys/kernel/random/boot_id")
	more := spec
	more.VM = proto.CloneOf(spec.VM)
	more.VM.Disks = append(more.VM.Disks, &skerryv1.Disk{Name: "more", Volume: "more"})
	more.VM.Networks = []*skerryv1.Nic{{Nat: true}}
	more.Volumes = map[string]runtime.Volume{"vm-1": {SizeBytes: 8 << 20, Made: true}, "more": {SizeBytes: 4 << 20}}
	for range 2 {
		must(t, d.Adjust(t.Context(), more))
	}
	until(t, "the guest sees both", func() bool {
		return devicesIn(t, d, spec.ID) == "data eth0 lo more root"
	})
	all, err := d.List(t.Context())
	if err != nil || all[0].Devices != more.DevicesHash() || all[0].SpecHash != more.Hash() {
		t.Errorf("it is %+v, %v", all, err)
	}
	// Its agent tells where it is; a card that is on no bridge does not count.
	inGuest(t, d, spec.ID, "sh", "-c", "ip link set eth0 up; ip addr add 192.0.2.7/24 dev eth0")
	if _, err := d.GuestAddress(t.Context(), spec.ID, more.VM); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("the address of a guest behind NAT gave %v", err)
	}
	onBridge := &skerryv1.VirtualMachine{Networks: []*skerryv1.Nic{{Bridge: "br0"}}}
	if found, err := d.GuestAddress(t.Context(), spec.ID, onBridge); found != "192.0.2.7" {
		t.Errorf("the address of the guest is %q, %v", found, err)
	}
	must(t, d.Snapshot(t.Context(), spec.ID, "with-both", silent))
	if err := d.DeleteVolume(t.Context(), "p", "more"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("deleting a volume that was attached gave %v", err)
	}
	less := spec
	less.VM = proto.CloneOf(spec.VM)
	less.VM.Disks = more.VM.Disks[1:]
	less.Volumes = more.Volumes
	until(t, "the guest gives them up", func() bool {
		err := d.Adjust(t.Context(), less)
		if err != nil && problem.KindOf(err) != problem.Timeout {
			t.Fatal(err)
		}
		return err == nil
	})
	if has := devicesIn(t, d, spec.ID); has != "lo more root" {
		t.Errorf("the guest has %q", has)
	}
	if again := inGuest(t, d, spec.ID, "cat", "/proc/sys/kernel/random/boot_id"); again != begun {
		t.Error("the guest booted again")
	}
	must(t, d.DeleteVolume(t.Context(), "p", "vm-1"))
}

// devicesIn a guest are its disks by their serial numbers, and its cards.
func devicesIn(t *testing.T, d *Driver, id string) string {
	t.Helper()
	all := strings.Fields(inGuest(t, d, id, "sh", "-c", "for s in /sys/block/vd?/serial; do cat $s; echo; done; ls /sys/class/net"))
	slices.Sort(all)
	return strings.Join(all, " ")
}

// Volumes that nothing uses are copied without libvirt.
func TestVolumesAreCopied(t *testing.T) {
	d := newNode(t, theOne).open(t)
	v := runtime.Volume{SizeBytes: 96 << 20}
	fill := func(name string, replace bool, content []byte) error {
		return d.ImportVolume(t.Context(), "p", name, v, replace, bytes.NewReader(content))
	}
	if err := d.SnapshotVolume(t.Context(), "p", "data", "one", silent); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a snapshot of nothing gave %v", err)
	}
	if err := fill("data", false, []byte("no disk")); problem.KindOf(err) != problem.Invalid {
		t.Errorf("what is no disk gave %v", err)
	}
	must(t, fill("data", false, disk))
	if err := fill("data", false, disk); problem.KindOf(err) != problem.Conflict {
		t.Errorf("filling it again gave %v", err)
	}
	if err := d.ImportVolume(t.Context(), "p", "small", runtime.Volume{SizeBytes: 1 << 20}, false, bytes.NewReader(disk)); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a disk that is too large gave %v", err)
	}
	file := d.volumeDisk("p", "data")[0].File
	write := func(text string) {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte(text), 512)
		must(t, errors.Join(err, f.Close()))
	}
	write("one\n")
	must(t, d.SnapshotVolume(t.Context(), "p", "data", "one", silent))
	write("two\n")
	held, err := d.HeldVolumes()
	if err != nil || len(held) != 1 || len(held[0].Snapshots) != 1 {
		t.Errorf("the volumes are %+v, %v", held, err)
	}
	for snapshot, want := range map[string]string{"": "two\n", "one": "one\n"} {
		content, _, err := d.ExportVolume(t.Context(), "p", "data", snapshot, silent)
		must(t, err)
		if text := secondSector(t, content); text != want {
			t.Errorf("the export of %q holds %q", snapshot, text)
		}
	}
	spec := machineSpec(t, d, "vm-1")
	spec.VM.Disks = []*skerryv1.Disk{{Name: "data", Volume: "data"}}
	spec.Volumes = map[string]runtime.Volume{"data": {SizeBytes: v.SizeBytes, Made: true}}
	must(t, d.Prepare(t.Context(), spec))
	for what, err := range map[string]error{
		"snapshot": d.SnapshotVolume(t.Context(), "p", "data", "two", silent), "restore": d.RestoreVolume(t.Context(), "p", "data", "one", silent),
		"import": fill("data", true, disk), "delete": d.DeleteVolume(t.Context(), "p", "data"),
	} {
		if problem.KindOf(err) != problem.Conflict {
			t.Errorf("%s of a volume in use gave %v", what, err)
		}
	}
	must(t, d.Remove(t.Context(), spec.ID))
	must(t, d.RestoreVolume(t.Context(), "p", "data", "one", silent))
	content, err := os.ReadFile(file)
	if err != nil || string(content[512:516]) != "one\n" || int64(len(content)) != v.SizeBytes {
		t.Errorf("restored, it holds %q in %d bytes, %v", content[512:516], len(content), err)
	}
	must(t, d.DeleteVolumeSnapshot(t.Context(), "p", "data", "one"))
	must(t, d.DeleteVolume(t.Context(), "p", "data"))
}
