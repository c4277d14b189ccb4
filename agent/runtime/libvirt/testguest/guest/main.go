// Command guest is the first process of a small virtual machine for tests. It
// loads the modules that lie in /modules, answers as a guest's agent does, runs
// the command that the kernel's command line names, and switches the machine
// off. Without a command it waits until the agent is told to, or the power
// button is pressed.
package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CommandKey of the kernel's command line: base64 of a JSON list.
const commandKey = "guest.command="

func main() {
	for _, m := range []struct{ kind, on string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := os.MkdirAll(m.on, 0o755); err == nil {
			_ = unix.Mount(m.kind, m.on, m.kind, 0, "") // what lacks it will tell
		}
	}
	_ = os.Setenv("PATH", "/bin")
	rawConsole()
	loadModules()
	off := make(chan struct{}, 2)
	command := commandOf()
	go agent(off, len(command) > 0)
	if len(command) == 0 {
		go button(off)
		if os.Getenv("greeting") != "" {
			fmt.Println(os.Getenv("greeting"))
		}
		<-off
		powerOff()
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		os.Exit(1) // the kernel panics when its first process ends
	}
	powerOff()
}

func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// rawConsole prints what is written as it is.
func rawConsole() {
	if termios, err := unix.IoctlGetTermios(1, unix.TCGETS); err == nil {
		termios.Oflag &^= unix.OPOST
		_ = unix.IoctlSetTermios(1, unix.TCSETS, termios)
	}
}

func loadModules() {
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return
	}
	for _, name := range strings.Fields(string(order)) {
		f, err := os.Open("/modules/" + name)
		if err != nil {
			continue
		}
		_ = unix.FinitModule(int(f.Fd()), "", 0) // what needs it will tell
		_ = f.Close()
	}
}

func commandOf() []string {
	line, _ := os.ReadFile("/proc/cmdline")
	for _, word := range strings.Fields(string(line)) {
		if encoded, ok := strings.CutPrefix(word, commandKey); ok {
			text, _ := base64.RawURLEncoding.DecodeString(encoded)
			var command []string
			_ = json.Unmarshal(text, &command)
			return command
		}
	}
	return nil
}

// button waits for the power button.
func button(off chan<- struct{}) {
	const size, keyPower = 24, 116
	paths, _ := filepath.Glob("/dev/input/event*")
	for _, path := range paths {
		go func() {
			f, err := os.Open(path)
			if err != nil {
				return
			}
			event := make([]byte, size)
			for {
				if n, err := f.Read(event); err != nil || n < size {
					return
				}
				if event[18] == keyPower && event[20] == 1 {
					off <- struct{}{}
				}
			}
		}()
	}
}

// agentPort finds the channel of the guest's agent.
func agentPort() string {
	for range 200 {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, name := range names {
			if text, _ := os.ReadFile(name); strings.TrimSpace(string(text)) == "org.qemu.guest_agent.0" {
				return "/dev/" + filepath.Base(filepath.Dir(name))
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ""
}
