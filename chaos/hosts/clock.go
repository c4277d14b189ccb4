package hosts

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"skerry.dev/agent/runtime/standstill"
)

// fakeClock takes the place of the kernel's clock_gettime in a process: it asks
// the kernel, and adds an offset to the wall clock alone. Seconds and nanoseconds of
// the offset follow the code.
//
//	mov eax, 228; syscall; test eax, eax; jnz end; test edi, edi; jnz end
//	mov rcx, [seconds]; add [rsi], rcx; mov rcx, [nanoseconds]; add rcx, [rsi+8]
//	cmp rcx, 1000000000; jl store; sub rcx, 1000000000; inc qword [rsi]
//	store: mov [rsi+8], rcx; end: ret
var fakeClock = []byte{
	0xB8, 0xE4, 0, 0, 0, 0x0F, 0x05, 0x85, 0xC0, 0x75, 0x30, 0x85, 0xFF, 0x75, 0x2C,
	0x48, 0x8B, 0x0D, 0x2A, 0, 0, 0, 0x48, 0x01, 0x0E, 0x48, 0x8B, 0x0D, 0x28, 0, 0, 0, 0x48, 0x03, 0x4E, 0x08,
	0x48, 0x81, 0xF9, 0x00, 0xCA, 0x9A, 0x3B, 0x7C, 0x0A, 0x48, 0x81, 0xE9, 0x00, 0xCA, 0x9A, 0x3B, 0x48, 0xFF, 0x06,
	0x48, 0x89, 0x4E, 0x08, 0xC3, 0, 0, 0, 0,
}

// Clock is the wall clock of one process, which can be set.
type Clock struct {
	memory *os.File
	offset int64 // where the process keeps it
}

// AgentClock takes over the wall clock of the agent as it runs now. The binary is
// the one that is released: only the page of the kernel's functions in its memory
// is another. The next agent has the right time again.
func (h *Host) AgentClock() (*Clock, error) {
	pid, err := h.AgentPID()
	if err != nil {
		return nil, err
	}
	return clockOf(pid, h.ResumeAgent)
}

// clockOf a process that resume lets go on after SIGSTOP.
func clockOf(pid int, resume func() error) (*Clock, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("clocks of processes cannot be set on %s", runtime.GOARCH)
	}
	begin, end, err := vdso(pid)
	if err != nil {
		return nil, err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	at, err := clockIn(memory, begin, end)
	if err == nil {
		err = standing(pid, begin, end, resume, func() error {
			_, err := memory.WriteAt(append(bytes.Clone(fakeClock), make([]byte, 16)...), at)
			return err
		})
	}
	if err != nil {
		return nil, errors.Join(err, memory.Close())
	}
	return &Clock{memory: memory, offset: at + int64(len(fakeClock))}, nil
}

// Set how far it is ahead of the machine's.
func (c *Clock) Set(ahead time.Duration) error {
	seconds := int64(ahead / time.Second)
	rest := int64(ahead % time.Second)
	if rest < 0 {
		seconds, rest = seconds-1, rest+int64(time.Second)
	}
	var both [16]byte
	binary.LittleEndian.PutUint64(both[:], uint64(seconds))
	binary.LittleEndian.PutUint64(both[8:], uint64(rest))
	_, err := c.memory.WriteAt(both[:], c.offset)
	return err
}

// Close lets go of it; it goes on as it was set.
func (c *Clock) Close() error { return c.memory.Close() }

// vdso is where the kernel's functions are in a process.
func vdso(pid int) (begin, end int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			_, err := fmt.Sscanf(line, "%x-%x", &begin, &end)
			return begin, end, err
		}
	}
	return 0, 0, fmt.Errorf("process %d has no vdso", pid)
}

// clockIn finds clock_gettime, with room for another one.
func clockIn(memory *os.File, begin, end int64) (int64, error) {
	image := make([]byte, end-begin)
	if _, err := memory.ReadAt(image, begin); err != nil {
		return 0, err
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return 0, err
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return 0, err
	}
	for _, s := range symbols {
		if s.Name == "__vdso_clock_gettime" {
			return begin + int64(s.Value), nil
		}
	}
	return 0, errors.New("the kernel offers no clock_gettime")
}

// standTries is how often a process is stopped to find it outside of the kernel's
// functions.
const standTries = 100

// standing changes a process while it stands still, outside of the kernel's
// functions.
func standing(pid int, begin, end int64, resume, change func() error) error {
	for range standTries {
		if err := standstill.Stop(pid); err != nil {
			return errors.Join(err, resume())
		}
		outside, err := standsOutside(pid, begin, end)
		if err == nil && outside {
			err = change()
		}
		if err := errors.Join(err, resume()); err != nil || outside {
			return err
		}
		time.Sleep(time.Millisecond) // whoever was in there gets out
	}
	return fmt.Errorf("process %d is always looking at its clock", pid)
}

// standsOutside tells whether no thread of a process that stands still is within
// some addresses.
func standsOutside(pid int, begin, end int64) (bool, error) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return false, err
	}
	for _, thread := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/syscall", pid, thread.Name()))
		if err != nil {
			return false, err
		}
		fields := strings.Fields(string(text))
		at, err := strconv.ParseInt(strings.TrimPrefix(fields[len(fields)-1], "0x"), 16, 64)
		// `running` is no address: one that waited for a disk moves within the kernel.
		if err != nil || at >= begin && at < end {
			return false, nil
		}
	}
	return true, nil
}
