package guard

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	// dying are those that were found and have not ended yet, by target.
	dying map[string][]dying
	line  []byte
}

// dying is a process that is killed until it has ended.
type dying struct{ pid, fd int }

func newMachines() *machines {
	return &machines{proc: "/proc", dying: map[string][]dying{}, line: make([]byte, maxCommandLine)}
}

// look for the processes of these machines, once for all of them: there may be many
// processes.
func (m *machines) look(targets []string) error {
	if len(targets) == 0 {
		return nil
	}
	entries, err := os.ReadDir(m.proc)
	if err != nil {
		return err
	}
	for _, target := range targets {
		m.gone(target) // the number of one that has ended may be another's by now
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid <= 1 {
			continue
		}
		for _, uuid := range m.uuids(pid) {
			if target := MachineTarget(uuid); slices.Contains(targets, target) {
				m.add(target, pid, uuid)
			}
		}
	}
	return nil
}

// strike kills what was found of a machine, and tells whether something was.
func (m *machines) strike(target string) (found bool, err error) {
	if uuid, is := strings.CutPrefix(target, machineScheme); !is || uuid == "" {
		return false, errors.New("there is no way to kill " + strconv.Quote(target))
	}
	for _, p := range m.dying[target] {
		_ = unix.PidfdSendSignal(p.fd, unix.SIGKILL, nil, 0) // it may have ended
	}
	return len(m.dying[target]) > 0, nil
}

// add a process that is not known yet, unless its number means another one by now.
func (m *machines) add(target string, pid int, uuid string) {
	if slices.ContainsFunc(m.dying[target], func(p dying) bool { return p.pid == pid }) {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it has ended
	}
	if !slices.Contains(m.uuids(pid), uuid) {
		_ = unix.Close(fd)
		return
	}
	m.dying[target] = append(m.dying[target], dying{pid: pid, fd: fd})
}

// gone tells whether all that were found have ended.
func (m *machines) gone(target string) bool {
	left := m.dying[target][:0]
	for _, p := range m.dying[target] {
		poll := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 0); err == nil && n == 1 {
			_ = unix.Close(p.fd)
			continue
		}
		left = append(left, p)
	}
	if m.dying[target] = left; len(left) == 0 {
		delete(m.dying, target)
	}
	return len(left) == 0
}

// uuids of the machines whose QEMU a process is: one, or none.
func (m *machines) uuids(pid int) []string {
	file, err := os.Open(filepath.Join(m.proc, strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }() // opened for reading only
	n, _ := io.ReadFull(file, m.line)   // as much as there is
	words := bytes.Split(m.line[:n], []byte{0})
	var uuids []string
	for i, word := range words[:len(words)-1] {
		if string(word) == "-uuid" && len(words[i+1]) > 0 {
			uuids = append(uuids, string(words[i+1]))
		}
	}
	return uuids
}
