//go:build integration

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/libvirt/libvirttest"
	"skerry.dev/agent/runtime/libvirt/testguest"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

var (
	testDir  string
	theOne   *libvirttest.Daemon
	guest    *testguest.Guest
	disk     []byte
	testName atomic.Int32
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ProbeCommand {
		os.Exit(Probe())
	}
	os.Exit(libvirttest.Main(func(dir string) int {
		testDir = dir
		if err := begin(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer theOne.Stop()
		return m.Run()
	}))
}

func begin(dir string) (err error) {
	if guest, err = testguest.Make(dir); err != nil {
		return err
	}
	file := filepath.Join(dir, "disk.qcow2")
	if out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", file, "64M").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	if disk, err = os.ReadFile(file); err != nil {
		return err
	}
	theOne, err = libvirttest.Start(filepath.Join(dir, "d"))
	return err
}

// startDaemon starts a libvirtd of a test's own, which ends with it.
func startDaemon(t *testing.T, name string) *libvirttest.Daemon {
	t.Helper()
	daemon, err := libvirttest.Start(filepath.Join(testDir, name))
	must(t, err)
	t.Cleanup(daemon.Stop)
	return daemon
}

// node is one simulated node.
type node struct{ config Config }

func newNode(t *testing.T, d *libvirttest.Daemon) *node {
	t.Helper()
	dir := filepath.Join(testDir, fmt.Sprintf("h%d", testName.Add(1)))
	h := &node{config: Config{
		Address: d.Address(), Dir: filepath.Join(dir, "vms"), RunDir: filepath.Join(dir, "run"), Emulation: true,
		Env:    env.NewSystem(),
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}}
	t.Cleanup(func() { h.clear(t) })
	return h
}

func (h *node) open(t *testing.T) *Driver {
	t.Helper()
	d, err := New(h.config)
	if err != nil {
		t.Fatal(err)
	}
	d.host.probed, d.host.broken = 1, "it is not used in tests"
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// clear removes all that a test left running.
func (h *node) clear(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := New(h.config)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = d.Close() }()
	all, err := d.List(ctx)
	for _, i := range all {
		err = errors.Join(err, d.Remove(ctx, i.ID))
	}
	if err != nil {
		t.Error(err)
	}
}

// shape makes a spec one of the small guest.
func shape(spec *runtime.Spec, command []string) {
	spec.MemoryBytes = max(spec.MemoryBytes, 128<<20)
	spec.VM = &skerryv1.VirtualMachine{
		Image: "site.local/web:1", Cpu: 1, Accel: "tcg",
		Boot: &skerryv1.Boot{Kernel: guest.Kernel, Initrd: guest.Initrd, Cmdline: testguest.Cmdline(command)},
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
