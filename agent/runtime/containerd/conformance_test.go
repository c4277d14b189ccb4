//go:build integration

package containerd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/conformance"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestConformance(t *testing.T) {
	// A second containerd: stores of one share their blobs.
	second, err := startDaemon(filepath.Join(testDir, "e"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.stop)
	conformance.Run(t, func(t *testing.T) conformance.Subject {
		h := newHost(t, theOne)
		d := h.open(t)
		return conformance.Subject{
			Driver: d,
			Reopen: func(t *testing.T, gone func()) conformance.Driver {
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				gone()
				d = h.open(t)
				return d
			},
			Break:     func(t *testing.T, id string) { h.halfPrepare(t, id) },
			Other:     func(t *testing.T) conformance.Driver { return newHost(t, second).open(t) },
			Leftovers: h.leftovers,
			PID: func(t *testing.T, id string) int {
				answer, err := d.client.TaskService().Get(d.in(t.Context()), &tasksapi.GetRequest{ContainerID: containerID(id)})
				must(t, err)
				return int(answer.GetProcess().GetPid())
			},
			WorkloadAPIDir: h.config.WorkloadAPIDir,
			Processes:      true,
			Disk:           []string{h.config.StateDir, filepath.Dir(h.config.Address), shimDir},
		}
	})
}

// halfPrepare does the first steps of a Prepare.
func (h *host) halfPrepare(t *testing.T, id string) {
	t.Helper()
	d := h.open(t)
	spec := runtime.Spec{ID: id, Placement: "web-1", Container: &skerryv1.Container{Network: "bridge"}}
	if err := os.MkdirAll(d.instanceDir(id), 0o711); err != nil {
		t.Fatal(err)
	}
	if _, err := d.network.add(t.Context(), containerID(id), nil); err != nil {
		t.Fatal(err)
	}
	if err := d.writeFiles(spec, ""); err != nil {
		t.Fatal(err)
	}
}

// leftovers looks everywhere for what is named after an instance.
func (h *host) leftovers(t *testing.T, id string) []string {
	t.Helper()
	container := containerID(id)
	var left []string
	for _, pattern := range []string{
		h.config.StateDir + "/containers/" + id,
		h.config.StateDir + "/cni/cache/*/*" + container + "*",
		h.config.RunDir + "/netns/" + container,
		h.config.RunDir + "/exec/*",
		h.config.RunDir + "/secrets/*",
		cgroupRoot + "/*" + h.config.CgroupParent + "/" + container,
		cgroupRoot + h.config.CgroupParent + "/" + container,
		testDir + "/?/state/*/" + h.config.Namespace + "/" + container,
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	for _, command := range [][]string{
		{"grep", "-rl", container, h.config.StateDir + "/cni"},
		{"grep", h.config.RunDir + "/.*" + container, "/proc/self/mounts"},
		{"iptables-save"},
		{"ctr", "--address", h.config.Address, "--namespace", h.config.Namespace, "snapshots", "list"},
		{"ctr", "--address", h.config.Address, "--namespace", h.config.Namespace, "containers", "list"},
		{"ctr", "--address", h.config.Address, "--namespace", h.config.Namespace, "tasks", "list"},
	} {
		out, _ := exec.Command(command[0], command[1:]...).Output() // grep fails when it finds nothing
		for line := range bytes.Lines(out) {
			if strings.Contains(string(line), container) {
				left = append(left, command[0]+": "+strings.TrimSpace(string(line)))
			}
		}
	}
	return left
}
