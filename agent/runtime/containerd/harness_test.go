//go:build integration

package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"skerry.dev/shared/env"
)

// The tests run a second time, as process 1 of their own network, mount and
// process namespaces: what they start ends with them, whatever happens, and
// no bridge or rule reaches the machine. Only cgroups and files stay; the
// first process removes those.
const insideVariable = "SKERRY_CONTAINERD_TEST_DIR"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == LaunchCommand {
		os.Exit(Launch(os.Args[2:])) // inside a container
	}
	if dir := os.Getenv(insideVariable); dir != "" {
		os.Exit(inside(m, dir))
	}
	os.Exit(outside())
}

func outside() int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "containerd is tested as root only")
		return 1
	}
	dir, err := os.MkdirTemp("/tmp", "sk") // short: socket paths are bounded
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	defer removeCgroups("/" + filepath.Base(dir))
	goruntime.LockOSThread()                                                             // whose end would end the child
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM) // kills the child, then cleans up
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVariable+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// removeCgroups removes a cgroup and all below it, in every hierarchy.
func removeCgroups(path string) {
	roots, _ := filepath.Glob(cgroupRoot + "/*" + path) // the pattern is well-formed
	for _, root := range append(roots, cgroupRoot+path) {
		var dirs []string
		_ = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, name)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			_ = os.Remove(dirs[i]) // what is busy is told by its staying
		}
	}
}

var (
	testDir  string
	theOne   *daemon
	testName atomic.Int32
)

// shimDir is where shims and runc keep their state, whatever containerd's own
// directories are.
const shimDir = "/run/containerd"

func inside(m *testing.M, dir string) int {
	testDir = dir
	err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""),
		os.MkdirAll(shimDir, 0o711),
		unix.Mount("tmpfs", shimDir, "tmpfs", 0, ""),
		netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}))
	if err == nil {
		theOne, err = startDaemon(filepath.Join(dir, "d"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer theOne.stop()
	return m.Run()
}

// daemon is a containerd of our own.
type daemon struct {
	dir string
	cmd *exec.Cmd
}

func (d *daemon) address() string { return filepath.Join(d.dir, "s") }

const daemonConfig = `version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
`

func startDaemon(dir string) (*daemon, error) {
	d := &daemon{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(daemonConfig), 0o600); err != nil {
		return nil, err
	}
	return d, d.start()
}

func (d *daemon) start() error {
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	d.cmd = exec.Command("containerd", "--config", filepath.Join(d.dir, "config.toml"), "--root", filepath.Join(d.dir, "root"),
		"--state", filepath.Join(d.dir, "state"), "--address", d.address())
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	for range 1200 { // a minute
		if conn, err := net.Dial("unix", d.address()); err == nil {
			return conn.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	return fmt.Errorf("containerd does not come up:\n%s", text)
}

// stop ends containerd; shims and containers go on.
func (d *daemon) stop() {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(unix.SIGTERM)
	_ = d.cmd.Wait()
	_ = os.Remove(d.address())
}

// host is one simulated node: a namespace of a containerd, and directories.
type host struct {
	config Config
}

func newHost(t *testing.T, d *daemon) *host {
	t.Helper()
	name := fmt.Sprintf("h%d", testName.Add(1))
	dir := filepath.Join(testDir, name)
	h := &host{config: Config{
		Address: d.address(), Namespace: name,
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
		WorkloadAPIDir: filepath.Join(dir, "run", "workload"),
		CNIPluginDir:   "/usr/lib/cni", CNISubnet: "10.88.0.0/16",
		CgroupParent: "/" + filepath.Base(testDir) + "/" + name,
		Env:          env.NewSystem(),
		Logger:       slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}}
	t.Cleanup(func() { h.clear(t) })
	return h
}

func (h *host) open(t *testing.T) *Driver {
	t.Helper()
	d, err := New(h.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// clear removes all that a test left running.
func (h *host) clear(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
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

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
