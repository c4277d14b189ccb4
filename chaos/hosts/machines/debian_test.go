//go:build integration

package machines

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// debianTime is what a whole Debian may take to boot or to end, emulated and on a
// busy machine.
const debianTime = 15 * time.Minute

const (
	debianKey      = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9Kq0r3hXvKz6jIhQx0f5gq2nqk1V8Wk8m0YxQ2l7T anna"
	debianUserData = `#cloud-config
locale: false
write_files:
- path: /etc/plant
  content: |
    turbine hall
runcmd:
- [mkdir, -p, /var/log/journal]
- [systemd-tmpfiles, --create, --prefix, /var/log/journal]
- [journalctl, --flush]
`
	debianManifest = `kind: Workload
name: scada
vm:
  image: debian
  memory: 768Mi
  networks: [{nat: true}]
  cloudInit: {hostname: turbine-1, userData: file:user.yaml, sshKeys: ["%s"]}
  boot: {firmware: uefi, secureBoot: true}
health: {guestAgent: {}, startPeriod: 15m}
stopGrace: 10m
`
)

// TestAWholeDebian is `make test-vm`: a Debian as people run it, started by its
// signed boot loader, set up by cloud-init, seen through its agent and its serial
// console, and ended in order.
func TestAWholeDebian(t *testing.T) {
	disk := os.Getenv("SKERRY_DEBIAN")
	if disk == "" {
		t.Skip("make test-vm runs it")
	}
	m, _ := start(t)
	file := filepath.Join(dir, "debian.yaml")
	m.must(os.WriteFile(filepath.Join(dir, "user.yaml"), []byte(debianUserData), 0o600))
	m.must(os.WriteFile(file, fmt.Appendf(nil, debianManifest, debianKey), 0o600))
	m.skerry("image", "load", disk, "--name", "debian")
	m.skerry("apply", "-f", file)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := m.try("logs", "scada-1")
			t.Logf("its console:\n%s", out[max(0, len(out)-8000):])
		}
	})

	m.healthy()
	t.Run("cloud-init has set it up", func(t *testing.T) {
		m.within(debianTime, "cloud-init is done", func() bool {
			out, err := m.try("exec", "scada-1", "--", "cloud-init", "status")
			return err == nil && strings.Contains(out, "status: done")
		})
		m.inGuest(t, "turbine-1\n", "hostname")
		m.inGuest(t, "turbine hall\n", "cat", "/etc/plant")
		m.inGuest(t, debianKey, "cat", "/home/debian/.ssh/authorized_keys")
		m.console()
		if out := m.skerry("logs", "scada-1"); !strings.Contains(out, "turbine-1 login:") {
			t.Error("the serial console shows no login")
		}
	})
	t.Run("only what is signed started it", func(t *testing.T) {
		m.inGuest(t, "Secure boot enabled", "sh", "-c", "journalctl -b -k | grep -i 'secure *boot'")
		m.inGuest(t, "1\n", "sh", "-c", "od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '")
	})
	t.Run("it ends in order, by its agent", func(t *testing.T) {
		m.skerry("vm", "stop", "scada")
		m.within(debianTime, "it has ended", func() bool {
			out, err := m.try("get", "placement", "scada-1")
			return err == nil && strings.Contains(out, " stopped ")
		})
		if out := m.skerry("logs", "scada-1"); !strings.Contains(out, "reboot: Power down") {
			t.Error("the serial console shows no end in order")
		}
		m.skerry("vm", "start", "scada")
		m.healthy()
		m.inGuest(t, "hypervisor initiated shutdown", "journalctl", "-b", "-1", "-n", "400", "--no-pager")
		m.inGuest(t, "turbine hall\n", "cat", "/etc/plant")
	})
}

// healthy waits until the guest's agent answers.
func (m *machine) healthy() {
	m.Helper()
	begun := time.Now()
	m.within(debianTime, "it is healthy", func() bool {
		out, err := m.try("get", "placement", "scada-1")
		return err == nil && strings.Contains(out, " healthy ")
	})
	m.Logf("healthy after %s", time.Since(begun).Round(time.Second))
}

// inGuest runs a command that is to say something.
func (m *machine) inGuest(t *testing.T, want string, command ...string) {
	t.Helper()
	if got := m.skerry(append([]string{"exec", "scada-1", "--"}, command...)...); !strings.Contains(got, want) {
		t.Errorf("%s says %q, want %q", strings.Join(command, " "), got, want)
	}
}
