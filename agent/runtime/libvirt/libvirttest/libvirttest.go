// Package libvirttest runs libvirtd for tests: several on one machine, each as if
// it had the machine for itself.
//
// Tests run in namespaces of their own, below a first process that collects what
// has ended: all that they start ends with them, whatever happens, and no
// bridge reaches the machine.
package libvirttest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime/standstill"
)

//go:embed host.sh
var hostScript string

// dirVariable names the directory of the tests, roleVariable what this process is.
const (
	dirVariable  = "SKERRY_LIBVIRT_TEST_DIR"
	roleVariable = "SKERRY_LIBVIRT_TEST_ROLE"
)

// Main is for TestMain: run is called with a directory, in namespaces of its own.
func Main(run func(dir string) int) int {
	dir := os.Getenv(dirVariable)
	switch os.Getenv(roleVariable) {
	case "first":
		return first()
	case "tests":
		return run(dir)
	default:
		return outside()
	}
}

// outside makes the namespaces, and removes the files in the end.
func outside() int {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "libvirt is tested as root only")
		return 1
	}
	dir, err := os.MkdirTemp("/tmp", "lv") // short: socket paths are bounded
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	goruntime.LockOSThread()                                                             // whose end would end the child
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM) // kills the child, then cleans up
	defer cancel()
	cmd := again(ctx, "first", dirVariable+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL,
	}
	return codeOf(cmd.Run())
}

func again(ctx context.Context, role string, more ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), more...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

func codeOf(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// first is process 1: it collects every QEMU that ended, without which libvirt
// would take it for one that does not end.
func first() int {
	err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, ""))
	if err != nil {
		return codeOf(err)
	}
	cmd := again(context.Background(), "tests")
	if err := cmd.Start(); err != nil {
		return codeOf(err)
	}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return codeOf(err)
		case pid == cmd.Process.Pid && status.Signaled():
			return 1
		case pid == cmd.Process.Pid:
			return status.ExitStatus()
		}
	}
}

// Daemon is one libvirtd.
type Daemon struct {
	Dir string
	cmd *exec.Cmd
}

// Address of its socket.
func (d *Daemon) Address() string { return SocketIn(d.Dir) }

// Start a libvirtd whose files are in a directory.
func Start(dir string) (*Daemon, error) {
	d := &Daemon{Dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return d, d.Start()
}

// Command of a libvirtd whose files are in a directory, and which is to see the
// network that it is begun in. It has a mount namespace of its own.
func Command(dir string) []string {
	return []string{"unshare", "--mount", "sh", "-c", hostScript, "host.sh", dir}
}

// SocketIn a directory, of its libvirtd.
func SocketIn(dir string) string { return filepath.Join(dir, "libvirt-sock") }

// startTime is what a libvirtd gets until it answers.
const startTime = 60 * time.Second

// Start it again; it finds what ran before.
func (d *Daemon) Start() error {
	said, err := os.Create(filepath.Join(d.Dir, "said"))
	if err != nil {
		return err
	}
	defer func() { _ = said.Close() }()
	_ = os.Remove(d.Address())
	d.cmd = exec.Command("unshare", append([]string{"--net"}, Command(d.Dir)...)...)
	d.cmd.Stdout, d.cmd.Stderr = said, said
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(startTime); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("unix", d.Address()); err == nil {
			return conn.Close()
		}
	}
	text, _ := os.ReadFile(said.Name())
	return fmt.Errorf("libvirtd does not come up:\n%s", text)
}

// Stop ends libvirtd; its QEMUs go on.
func (d *Daemon) Stop() { d.end(unix.SIGTERM) }

// Kill ends libvirtd in the middle of what it does.
func (d *Daemon) Kill() { d.end(unix.SIGKILL) }

func (d *Daemon) end(signal syscall.Signal) {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(signal)
	_ = d.cmd.Wait()
	d.cmd = nil
}

// Freeze makes libvirtd silent, or lets it speak again.
func (d *Daemon) Freeze(frozen bool) error {
	if frozen {
		return standstill.Stop(d.cmd.Process.Pid)
	}
	return d.cmd.Process.Signal(unix.SIGCONT)
}
