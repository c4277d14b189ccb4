// Package testguest makes a small virtual machine for tests out of what the
// machine has: Debian's cloud kernel, some of its modules, busybox, and the
// program in the folder guest as the first process.
package testguest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// modules that a guest needs, without what they need themselves.
var modules = []string{
	"virtio_pci", "virtio_console", "virtio_blk", "virtio_net", "evdev", "button", "pvpanic-mmio", "isofs", "efivarfs",
}

// applets of busybox that tests run in a guest.
var applets = []string{"sh", "true", "false", "echo", "cat", "sleep", "env", "ls", "mount", "ip", "udhcpc", "dd", "grep", "sync", "yes", "head", "touch"}

// Guest is a kernel with an initial ram disk.
type Guest struct {
	Kernel, Initrd string
}

// Make puts the ram disk into a directory. It has more programs in it, by their
// paths.
func Make(dir string, programs ...string) (*Guest, error) {
	kernels, err := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if err != nil || len(kernels) == 0 {
		return nil, errors.New("there is no kernel: apt install linux-image-cloud-amd64")
	}
	slices.Sort(kernels)
	kernel := kernels[len(kernels)-1]
	release := strings.TrimPrefix(kernel, "/boot/vmlinuz-")
	program := filepath.Join(dir, "guest")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "skerry.dev/agent/runtime/libvirt/testguest/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the guest's program cannot be built: %w: %s", err, out)
	}
	archive := &cpio{}
	archive.dir("bin", "dev", "modules")
	err = errors.Join(archive.copy("init", program, 0o755), archive.copy("bin/busybox", "/usr/bin/busybox", 0o755), archive.modules(release))
	if err != nil {
		return nil, err
	}
	for _, path := range programs {
		if err := archive.copy("bin/"+filepath.Base(path), path, 0o755); err != nil {
			return nil, err
		}
	}
	for _, applet := range applets {
		archive.add("bin/"+applet, modeLink|0o777, []byte("busybox"))
	}
	archive.device("dev/console", 5, 1)
	archive.add("TRAILER!!!", 0, nil)
	initrd := filepath.Join(dir, "initrd")
	return &Guest{Kernel: kernel, Initrd: initrd}, os.WriteFile(initrd, archive.Bytes(), 0o644)
}

// Cmdline of a guest that runs a command and switches itself off; without one it
// waits. Its kernel does not try the timer: on a busy machine an emulated one may be
// late, and the kernel would panic. It says nothing itself, nor at its end.
func Cmdline(command []string) string {
	line := "console=ttyS0 quiet loglevel=0 panic=0 no_timer_check nokaslr mitigations=off random.trust_cpu=on"
	if len(command) > 0 {
		text, err := json.Marshal(command)
		if err != nil {
			panic(err) // text cannot fail
		}
		line += " guest.command=" + base64.RawURLEncoding.EncodeToString(text)
	}
	return line
}

// modules in an order in which they can be loaded.
func (c *cpio) modules(release string) error {
	root := "/lib/modules/" + release
	text, err := os.ReadFile(root + "/modules.dep")
	if err != nil {
		return err
	}
	needs, paths := map[string][]string{}, map[string]string{}
	name := func(path string) string { return strings.TrimSuffix(filepath.Base(path), ".ko") }
	for line := range strings.Lines(string(text)) {
		path, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		paths[name(path)] = path
		for _, need := range strings.Fields(rest) {
			needs[name(path)] = append(needs[name(path)], name(need))
		}
	}
	var order []string
	for _, wanted := range modules {
		// What a module needs is named nearest first.
		chain := append([]string{wanted}, needs[wanted]...)
		for _, m := range slices.Backward(chain) {
			if slices.Contains(order, m) || paths[m] == "" {
				continue
			}
			order = append(order, m)
			if err := c.copy("modules/"+m, filepath.Join(root, paths[m]), 0o644); err != nil {
				return err
			}
		}
	}
	c.add("modules/order", modeFile|0o644, []byte(strings.Join(order, "\n")))
	return nil
}

// cpio is an archive in the form that the kernel unpacks.
type cpio struct {
	bytes.Buffer
	inode int
}

const (
	modeFile   = 0o100000
	modeDir    = 0o040000
	modeLink   = 0o120000
	modeDevice = 0o020000
)

func (c *cpio) add(name string, mode int, content []byte) { c.entry(name, mode, 0, 0, content) }

func (c *cpio) dir(names ...string) {
	for _, name := range names {
		c.add(name, modeDir|0o755, nil)
	}
}

func (c *cpio) device(name string, major, minor int) {
	c.entry(name, modeDevice|0o600, major, minor, nil)
}

func (c *cpio) copy(name, from string, mode int) error {
	content, err := os.ReadFile(from)
	if err == nil {
		c.add(name, modeFile|mode, content)
	}
	return err
}

func (c *cpio) entry(name string, mode, major, minor int, content []byte) {
	c.inode++
	fmt.Fprintf(c, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0, name)
	c.pad()
	c.Write(content)
	c.pad()
}

func (c *cpio) pad() {
	for c.Len()%4 != 0 {
		c.WriteByte(0)
	}
}
