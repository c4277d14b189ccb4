//go:build integration

package containerd

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// withVolume gives a spec a volume that is there or is made.
func withVolume(spec runtime.Spec, made bool) runtime.Spec {
	spec.Container.Mounts = []*skerryv1.Mount{{Target: "/data", Volume: "data"}}
	spec.Volumes = map[string]runtime.Volume{"data": {SizeBytes: 1 << 20, Made: made}}
	return spec
}

func startNow(t *testing.T, d *Driver, spec runtime.Spec) {
	t.Helper()
	must(t, d.Prepare(t.Context(), spec), d.Start(t.Context(), spec.ID))
}

// output of a command in a container that runs.
func output(t *testing.T, d *Driver, id string, command ...string) string {
	t.Helper()
	var out bytes.Buffer
	code, err := d.Exec(t.Context(), id, runtime.Exec{Command: command, Stdout: &out, Stderr: io.Discard})
	if err != nil || code != 0 {
		t.Fatalf("%v ended with %d, %v", command, code, err)
	}
	return strings.TrimSpace(out.String())
}

func TestAVolumeOutlivesItsContainer(t *testing.T) {
	d := newHost(t, theOne).open(t)
	image := load(t, d)
	first := withVolume(specOf(image, "db-1", "sleep", "1000"), false)
	first.Container.User = "1000:1000"
	startNow(t, d, first)
	output(t, d, first.ID, "sh", "-c", "echo paid > /data/orders")

	second := withVolume(specOf(image, "db-2", "sleep", "1000"), true)
	if err := d.Prepare(t.Context(), second); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "default.db-1 uses it") {
		t.Errorf("a second writer gave %v", err)
	}
	if err := d.DeleteVolume(t.Context(), "default", "data"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("deleting it in use gave %v", err)
	}
	must(t, d.Stop(t.Context(), first.ID, time.Second), d.Remove(t.Context(), first.ID), d.Forget(t.Context(), first.ID))

	second.Container.Mounts[0].ReadOnly = true
	startNow(t, d, second)
	if text := output(t, d, second.ID, "cat", "/data/orders"); text != "paid" {
		t.Errorf("the next one reads %q", text)
	}
	if out := output(t, d, second.ID, "sh", "-c", "touch /data/x 2>&1 || true"); !strings.Contains(out, "Read-only") {
		t.Errorf("writing to what is read-only gave %q", out)
	}
	held, err := d.HeldVolumes()
	if err != nil || len(held) != 1 || held[0].Name != "data" || !held[0].Directory {
		t.Errorf("the node holds %v, %v", held, err)
	}
	must(t, d.Remove(t.Context(), second.ID), d.DeleteVolume(t.Context(), "default", "data"))
	if err := d.Prepare(t.Context(), second); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("without its data it gave %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(d.StateDir, "volumes")); err != nil || len(left) != 0 {
		t.Errorf("there is still %v, %v", left, err)
	}
}

func TestAVolumeThatTheNodeWasNotToldOf(t *testing.T) {
	d := newHost(t, theOne).open(t)
	spec := withVolume(specOf(load(t, d), "db-1", "true"), false)
	spec.Volumes = nil
	if err := d.Prepare(t.Context(), spec); problem.KindOf(err) != problem.NotFound {
		t.Errorf("it gave %v", err)
	}
}

func TestAVolumeThatIsADirectoryOfTheNode(t *testing.T) {
	d := newHost(t, theOne).open(t)
	dir := filepath.Join(t.TempDir(), "feed")
	spec := withVolume(specOf(load(t, d), "reader-1", "sleep", "1000"), false)
	spec.Volumes["data"] = runtime.Volume{Path: dir}
	if err := d.Prepare(t.Context(), spec); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "is not a directory on this node") {
		t.Errorf("without the directory it gave %v", err)
	}
	must(t, os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "prices"), []byte("7"), 0o600))
	startNow(t, d, spec)
	if text := output(t, d, spec.ID, "cat", "/data/prices"); text != "7" {
		t.Errorf("it reads %q", text)
	}
	must(t, d.DeleteVolume(t.Context(), "default", "data"), d.Remove(t.Context(), spec.ID))
	if held, err := d.HeldVolumes(); err != nil || len(held) != 0 {
		t.Errorf("the node says that it holds %v, %v", held, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "prices")); err != nil {
		t.Error(err)
	}
}
