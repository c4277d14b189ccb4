package hosts

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"skerry.dev/agent/runtime/libvirt/libvirttest"
	"skerry.dev/agent/runtime/libvirt/testguest"
)

// libvirtTime bounds the start of a libvirtd.
const libvirtTime = time.Minute

// LibvirtDir holds the files of the host's libvirtd.
func (h *Host) LibvirtDir() string { return h.libvirtDir() }

func (h *Host) libvirtDir() string { return filepath.Join(h.dir, "libvirt") }

// startMachines starts the host's libvirtd on a machine that has just booted.
func (h *Host) startMachines(ctx context.Context) error {
	if !h.rig.Machines {
		return nil
	}
	// What libvirt keeps in /run a reboot forgets.
	if err := os.RemoveAll(filepath.Join(h.libvirtDir(), "run")); err != nil {
		return err
	}
	if err := os.MkdirAll(h.libvirtDir(), 0o755); err != nil {
		return err
	}
	// All guests are emulated: KVM may be there and hang.
	if _, err := h.Command(ctx, nil, "sh", "-c", "[ ! -e /dev/kvm ] || mount --bind /dev/null /dev/kvm"); err != nil {
		return err
	}
	return h.StartLibvirt()
}

// StartLibvirt starts the host's libvirtd and waits until it answers.
func (h *Host) StartLibvirt() error {
	socket := libvirttest.SocketIn(h.libvirtDir())
	_ = os.Remove(socket) // of the one before
	started, err := h.start("libvirt.log", libvirttest.Command(h.libvirtDir())...)
	if err != nil {
		return err
	}
	h.libvirt = started
	ctx, cancel := context.WithTimeout(context.Background(), libvirtTime)
	defer cancel()
	return until(ctx, "libvirtd on "+h.Name, func() error {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// KillLibvirt ends the host's libvirtd at once; its machines go on.
func (h *Host) KillLibvirt() error { return h.libvirt.end(syscall.SIGKILL) }

// PauseLibvirt freezes libvirtd, and returns when it stands still; ResumeLibvirt lets
// it go on.
func (h *Host) PauseLibvirt() error { return h.libvirt.pause() }

// ResumeLibvirt lets a libvirtd that was paused go on.
func (h *Host) ResumeLibvirt() error { return h.libvirt.resume() }

// Processes of the host whose arguments begin with these words, by their numbers
// there.
func (h *Host) Processes(ctx context.Context, words ...string) ([]int, error) {
	out, err := h.Command(ctx, nil, "ps", "-e", "-ww", "-o", "pid=,args=")
	if err != nil {
		return nil, err
	}
	var pids []int
	for line := range strings.Lines(out) {
		number, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		args = strings.TrimSpace(args)
		pid, err := strconv.Atoi(number)
		if err == nil && strings.HasPrefix(args+" ", strings.Join(words, " ")+" ") {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Signal processes of the host; one that has ended is none.
func (h *Host) Signal(ctx context.Context, signal syscall.Signal, pids ...int) error {
	for _, pid := range pids {
		if _, err := h.Command(ctx, nil, "sh", "-c", fmt.Sprintf("kill -%d %d 2>/dev/null || ! kill -0 %d 2>/dev/null", int(signal), pid, pid)); err != nil {
			return err
		}
	}
	return nil
}

// QEMU is the emulator's path.
const QEMU = "/usr/bin/qemu-system-x86_64"

// BuildBeater builds chaos/hosts/beater into the rig's directory.
func (r *Rig) BuildBeater(ctx context.Context) (string, error) {
	path := filepath.Join(r.Dir, "beater")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "skerry.dev/chaos/hosts/beater")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
}

// MachineDisk is the name of the disk image that LoadMachine loads.
const MachineDisk = "disk"

// Machine is what a virtual machine of a rig runs.
type Machine struct {
	// Script of the guest, which ends with it.
	Script string
	// Memory of the guest.
	Memory string
	// Early: the kernel writes to the console as soon as it can.
	Early bool
	// Volume of 16 MiB that it has as its second disk; empty: none.
	Volume string
}

// Script of a guest that tells the witness that it lives: QEMU's own network
// reaches it.
func (w *Witness) Script() string {
	return "echo up; ip link set lo up; ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2; exec beater " + w.Address
}

// LoadMachine brings an empty disk to the site, and makes a guest. It returns
// `vm:` of a manifest, in one line.
func (r *Rig) LoadMachine(ctx context.Context, m Machine) (string, error) {
	beater, err := r.BuildBeater(ctx)
	if err != nil {
		return "", err
	}
	guest, err := testguest.Make(r.Dir, beater)
	if err != nil {
		return "", err
	}
	disk := filepath.Join(r.Dir, "disk.qcow2")
	if err := run(ctx, "qemu-img create -q -f qcow2 "+disk+" 64M"); err != nil {
		return "", err
	}
	// A node takes disks once it knows its libvirt.
	err = r.Until(ctx, "the disk to be loaded", libvirtTime, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, nil, "image", "load", disk, "--name", MachineDisk)
		return err
	})
	if err != nil {
		return "", err
	}
	cmdline := testguest.Cmdline([]string{"sh", "-c", m.Script})
	if m.Early {
		cmdline += " earlyprintk=ttyS0,115200"
	}
	disks := ""
	if m.Volume != "" {
		disks = fmt.Sprintf("disks: [{name: data, volume: %s, size: 16Mi}], ", m.Volume)
	}
	return fmt.Sprintf(`{image: %s, cpu: 1, memory: %s, accel: tcg, %snetworks: [{nat: true}], boot: {kernel: %s, initrd: %s, cmdline: "%s"}}`,
		MachineDisk, m.Memory, disks, guest.Kernel, guest.Initrd, cmdline), nil
}

// HoldsVolume tells whether there is anything of a machine's volume on this host.
func (h *Host) HoldsVolume(name string) bool {
	_, err := os.Stat(filepath.Join(h.dir, "state-vms", "volumes", "default."+name))
	return err == nil
}

// ConsoleSize is how much the guest of a placement has written on this host.
func (h *Host) ConsoleSize(placement string) int64 {
	size, _ := h.Console(placement)
	return size
}

func (h *Host) consoleFile(placement string) string {
	return filepath.Join(h.dir, "state-vms", "logs", "default."+placement, "0")
}

// Console is how much the guest of a placement has written on this host, and when
// it last did.
func (h *Host) Console(placement string) (size int64, last time.Time) {
	info, err := os.Stat(h.consoleFile(placement))
	if err != nil {
		return 0, time.Time{}
	}
	return info.Size(), info.ModTime()
}

// Consoles are the placements whose guests have written something on this host.
func (h *Host) Consoles() ([]string, error) {
	names, err := h.guests()
	return slices.DeleteFunc(names, func(name string) bool { return h.ConsoleSize(name) == 0 }), err
}

// guests are the placements whose guests have a console on this host.
func (h *Host) guests() (names []string, err error) {
	files, err := filepath.Glob(h.consoleFile("*"))
	for _, file := range files {
		names = append(names, strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "default."))
	}
	return names, err
}
