//go:build integration

package containerd

import (
	"bytes"
	"io"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/testimage"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func load(t *testing.T, d *Driver) runtime.StoredImage {
	t.Helper()
	var tar bytes.Buffer
	if err := testimage.WriteDockerArchive(&tar, "web:1"); err != nil {
		t.Fatal(err)
	}
	images, err := d.Import(t.Context(), &tar, "")
	if err != nil {
		t.Fatal(err)
	}
	return images[0]
}

func TestSmoke(t *testing.T) {
	h := newHost(t, theOne)
	d := h.open(t)
	at := time.Now()
	step := func(what string, err error) {
		t.Helper()
		t.Logf("%s %v", what, time.Since(at).Round(time.Millisecond))
		at = time.Now()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	image := load(t, d)
	step("load", nil)
	spec := runtime.Spec{
		ID: "default.web-1", Project: "default", Placement: "web-1", Workload: "web", ImageDigest: image.Digest,
		Container: &skerryv1.Container{Network: "bridge", Ports: []*skerryv1.Port{{Port: 8080, HostPort: 18080, Protocol: "tcp"}}},
		CPUMilli:  100, MemoryBytes: 64 << 20,
	}
	step("prepare", d.Prepare(t.Context(), spec))
	step("start", d.Start(t.Context(), spec.ID))
	list, err := d.List(t.Context())
	step("list", err)
	t.Log(list)
	var out bytes.Buffer
	code, err := d.Exec(t.Context(), spec.ID, runtime.Exec{Command: []string{"sh", "-c", "wget -q -O - localhost:8080/healthz; id; cat /proc/self/status | grep Cap; hostname; ls /sys/fs/cgroup; exit 3"}, Stdout: &out, Stderr: &out})
	step("exec", err)
	t.Log(code, out.String())
	step("stop", d.Stop(t.Context(), spec.ID, time.Second))
	list, err = d.List(t.Context())
	step("list", err)
	t.Log(list)
	logs, err := d.Logs(t.Context(), spec.ID, runtime.LogOptions{})
	step("logs", err)
	text, _ := io.ReadAll(logs)
	t.Logf("%s", text)
	step("remove", d.Remove(t.Context(), spec.ID))
}
