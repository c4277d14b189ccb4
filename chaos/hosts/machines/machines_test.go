//go:build integration

// Package machines runs a site of one node with real virtual machines, by the
// command line alone.
package machines

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime/libvirt/libvirttest"
	"skerry.dev/agent/runtime/libvirt/testguest"
)

const (
	patience = 3 * time.Minute
	// socketDir is where agents look for libvirt by default.
	socketDir = "/run/libvirt"
)

var dir string

func TestMain(m *testing.M) {
	os.Exit(libvirttest.Main(func(given string) int {
		dir = given
		return m.Run()
	}))
}

// machine is this machine as a site of one node.
type machine struct {
	*testing.T
	binary, home string
}

func start(t *testing.T) (*machine, *testguest.Guest) {
	t.Helper()
	m := &machine{T: t, binary: os.Getenv("SKERRY_BINARY"), home: filepath.Join(dir, "site", "operator")}
	if m.binary == "" {
		t.Skip("SKERRY_BINARY names no program: make test-integration")
	}
	m.must(netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}))
	guest, err := testguest.Make(dir)
	m.must(err)
	daemon, err := libvirttest.Start(filepath.Join(dir, "d"))
	m.must(err)
	t.Cleanup(daemon.Stop)
	m.must(os.MkdirAll(socketDir, 0o755))
	m.must(unix.Mount("tmpfs", socketDir, "tmpfs", 0, ""))
	m.must(os.Symlink(daemon.Address(), filepath.Join(socketDir, "libvirt-sock")))
	log, err := os.Create(filepath.Join(dir, "log"))
	m.must(err)
	dev := exec.Command(m.binary, "dev", "--dir", filepath.Join(dir, "site"), "--port", "17600")
	dev.Stdout, dev.Stderr = log, log
	m.must(dev.Start())
	t.Cleanup(func() {
		_ = dev.Process.Signal(syscall.SIGTERM)
		_ = dev.Wait()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the agent said:\n%s", text)
		}
	})
	m.until("libvirt is known", func() bool {
		out, err := m.try("describe", "node", "node-1")
		return err == nil && strings.Contains(out, "Machines:")
	})
	return m, guest
}

func (m *machine) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(m.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, m.binary, args...)
	cmd.Env = append(os.Environ(), "SKERRY_HOME="+m.home)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (m *machine) skerry(args ...string) string {
	m.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.Fatalf("skerry %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (m *machine) refused(why string, args ...string) {
	m.Helper()
	if out, err := m.try(args...); err == nil || !strings.Contains(out, why) {
		m.Errorf("skerry %s gave %v: %s, want something with %q", strings.Join(args, " "), err, out, why)
	}
}

func (m *machine) until(what string, true func() bool) {
	m.Helper()
	m.within(patience, what, true)
}

func (m *machine) within(limit time.Duration, what string, true func() bool) {
	m.Helper()
	for end := time.Now().Add(limit); !true(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			out, _ := m.try("why", "scada")
			m.Fatalf("after %s it is still not so that %s\n%s", limit, what, out)
		}
	}
}

func (m *machine) state(want string) {
	m.Helper()
	m.until("it is "+want, func() bool {
		out, err := m.try("get", "placement", "scada-1")
		return err == nil && strings.Contains(out, " "+want+" ")
	})
}

// console shows what the guest prints while it is open, and ends at Ctrl-].
func (m *machine) console() {
	m.Helper()
	cmd := exec.CommandContext(m.Context(), m.binary, "vm", "console", "scada")
	cmd.Env = append(os.Environ(), "SKERRY_HOME="+m.home)
	keys, err := cmd.StdinPipe()
	m.must(err)
	file := filepath.Join(dir, "console")
	shown, err := os.Create(file)
	m.must(err)
	cmd.Stdout, cmd.Stderr = shown, shown
	m.must(cmd.Start())
	m.until("the console shows what the guest prints", func() bool {
		m.skerry("exec", "scada-1", "--", "sh", "-c", "echo hello from the guest >/dev/console")
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), "hello from the guest")
	})
	_, err = keys.Write([]byte{0x1d})
	m.must(err)
	m.must(cmd.Wait())
	if !strings.Contains(m.skerry("logs", "scada-1"), "hello from the guest") {
		m.Error("the log does not have what the console showed")
	}
}

func manifest(guest *testguest.Guest, memory string) string {
	return fmt.Sprintf(`kind: Workload
name: scada
vm:
  image: disk
  memory: %s
  disks: [{name: data, volume: scada-data, size: 8Mi}]
  networks: [{nat: true}]
  cloudInit: {userData: file:user.yaml}
  boot: {kernel: %s, initrd: %s, cmdline: "%s"}
health: {guestAgent: {}}
stopGrace: 20s
`, memory, guest.Kernel, guest.Initrd, testguest.Cmdline(nil))
}

func TestALifeOfAVirtualMachine(t *testing.T) {
	m, guest := start(t)
	disk, file := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "scada.yaml")
	out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", disk, "64M").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.must(os.WriteFile(filepath.Join(dir, "user.yaml"), []byte("#cloud-config\n{}\n"), 0o600))
	m.must(os.WriteFile(file, []byte(manifest(guest, "128Mi")), 0o600))
	m.skerry("image", "load", disk, "--name", "disk")
	m.refused("name", "image", "load", disk)
	m.skerry("apply", "-f", file)
	m.state("healthy")
	m.skerry("exec", "scada-1", "--", "sh", "-c", "echo kept | dd of=/dev/vda bs=512 seek=9 conv=fsync; sync")
	kept := func(what string) {
		t.Helper()
		if got := m.skerry("exec", "scada-1", "--", "sh", "-c", "dd if=/dev/vda bs=512 skip=9 count=1 2>/dev/null | head -n 1"); got != "kept\n" {
			t.Errorf("after %s the root disk holds %q", what, got)
		}
	}

	m.skerry("vm", "pause", "scada")
	m.until("it is paused", func() bool { return strings.Contains(m.skerry("describe", "placement", "scada-1"), "it is paused") })
	m.skerry("vm", "resume", "scada")
	m.skerry("vm", "stop", "scada")
	m.state("stopped")
	m.refused("it is off", "vm", "restart", "scada")
	m.skerry("vm", "start", "scada")
	m.state("healthy")
	kept("a stop and a start")

	m.console()

	m.refused("nothing to change", "vm", "resize", "scada")
	m.refused("no room", "vm", "resize", "scada", "--memory", "900Gi")
	m.skerry("vm", "resize", "scada", "--memory", "160Mi")
	m.until("it has more memory", func() bool {
		out, err := m.try("exec", "scada-1", "--", "sh", "-c", "grep MemTotal /proc/meminfo")
		var kib int
		_, scanErr := fmt.Sscanf(out, "MemTotal: %d kB", &kib)
		return err == nil && scanErr == nil && kib > 110_000
	})
	kept("a change of its memory")

	m.refused("uses it", "delete", "volume", "scada-data", "--with-data")
	m.skerry("delete", "workload", "scada")
	m.until("it is gone", func() bool { return strings.Contains(m.skerry("get", "placements"), "no placements") })
	m.refused("--with-data", "delete", "volume", "scada-data")
	m.skerry("delete", "volume", "scada-data", "--with-data")
	m.until("its volume is gone", func() bool { return strings.Contains(m.skerry("get", "volumes"), "no volumes") })
	for _, left := range []string{"instances", "disks", "volumes", "logs"} {
		if found, err := filepath.Glob(filepath.Join(dir, "site", "state-vms", left, "*")); err != nil || len(found) > 0 {
			t.Errorf("of the machine is left %v, %v", found, err)
		}
	}
}
