package guard

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machineScheme of a target: `machine:UUID`, of the virtual machine that QEMU runs
// under this UUID.
const machineScheme = "machine:"

// MachineTarget is what to kill for a virtual machine.
func MachineTarget(uuid string) string { return machineScheme + uuid }

// maxCommandLine of a process is read, in bytes. QEMU's UUID comes early.
const maxCommandLine = 64 << 10

// machines kills the QEMU of a virtual machine. libvirt and systemd put it into a
// control group whose name nobody knows before it runs, and with version 1 into
// none that could be frozen. So it is found by the command line that libvirt gives
// it. What is killed runs nothing from then on; what comes late is paused until
// the agent, after a look at the lease, lets it go.
type machines struct {
	proc string
	// dying are those that were killed and have not ended yet, by target.
	dying map[string][]int
	line  []byte
}

func newMachines() *machines {
	return &machines{proc: "/proc", dying: map[string][]int{}, line: make([]byte, maxCommandLine)}
}

// kill tells whether something was found, and whether nothing is left.
func (m *machines) kill(target string) (found, gone bool, err error) {
	uuid, is := strings.CutPrefix(target, machineScheme)
	if !is || uuid == "" {
		return false, false, errors.New("there is no way to kill " + strconv.Quote(target))
	}
	entries, err := os.ReadDir(m.proc)
	if err != nil {
		return false, false, err
	}
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil && pid > 1 && m.runs(pid, uuid) {
			m.add(target, pid, uuid)
		}
	}
	found = len(m.dying[target]) > 0
	for range tries {
		if m.end(target) {
			return found, true, nil
		}
		pause(shortly)
	}
	return found, m.end(target), nil
}

// add a process, unless its number means another one by now.
func (m *machines) add(target string, pid int, uuid string) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	if !m.runs(pid, uuid) {
		_ = unix.Close(fd)
		return
	}
	m.dying[target] = append(m.dying[target], fd)
}

// end tells whether all have ended, after it has killed them.
func (m *machines) end(target string) bool {
	left := m.dying[target][:0]
	for _, fd := range m.dying[target] {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it may have ended
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 0); err == nil && n == 1 {
			_ = unix.Close(fd)
			continue
		}
		left = append(left, fd)
	}
	if m.dying[target] = left; len(left) == 0 {
		delete(m.dying, target)
	}
	return len(left) == 0
}

// runs tells whether a process is the QEMU of a machine.
func (m *machines) runs(pid int, uuid string) bool {
	file, err := os.Open(filepath.Join(m.proc, strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }() // opened for reading only
	n, _ := io.ReadFull(file, m.line)   // as much as there is
	words := bytes.Split(m.line[:n], []byte{0})
	for i, word := range words[:len(words)-1] {
		if string(word) == "-uuid" && string(words[i+1]) == uuid {
			return true
		}
	}
	return false
}
