package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// ProbeCommand is the first argument with which this program tries KVM and
	// ends; main hands it to Probe. Some machines offer a /dev/kvm on which a
	// guest hangs for ever: a process of its own can be killed.
	ProbeCommand = "probe-kvm"
	// probeTime is a hundred times what the guest takes.
	probeTime = 5 * time.Second
	kvmDevice = "/dev/kvm"
)

// tryKVM runs a guest of four instructions. hung: KVM is there, and does not.
func tryKVM(ctx context.Context) (hung bool, err error) {
	if !exists(kvmDevice) {
		return false, errors.New("there is no " + kvmDevice)
	}
	program, err := os.Executable()
	if err != nil {
		return false, fmt.Errorf("it cannot be tried: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, program, ProbeCommand)
	cmd.Stderr, cmd.WaitDelay = &said, time.Second
	switch err := cmd.Run(); {
	case ctx.Err() != nil:
		return true, fmt.Errorf("%s opens, and a guest on it hangs: after %s it had not counted to its end", kvmDevice, probeTime)
	case err != nil:
		return said.Len() > 0, fmt.Errorf("%s is of no use: %s", kvmDevice, strings.TrimSpace(said.String()))
	}
	return false, nil
}

// Probe tries KVM and returns the exit code of the process.
func Probe() int {
	if err := runGuest(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Requests and structures of linux/kvm.h.
const (
	kvmGetAPIVersion = 0xAE00
	kvmCreateVM      = 0xAE01
	kvmGetMmapSize   = 0xAE04
	kvmCreateVCPU    = 0xAE41
	kvmSetMemory     = 0x4020AE46
	kvmRun           = 0xAE80
	kvmSetRegs       = 0x4090AE82
	kvmGetSregs      = 0x8138AE83
	kvmSetSregs      = 0x4138AE84

	kvmVersion = 12
	exitHalt   = 5
	sregsSize  = 312
)

// countdown counts down from 2^27, then halts. That takes some tens of milliseconds:
// there are machines on which a guest runs until the first interrupt of the
// machine below, and never after it.
var countdown = []byte{
	0x66, 0xb9, 0x00, 0x00, 0x00, 0x08, // mov ecx, 1<<27
	0x66, 0x49, // dec ecx
	0x75, 0xfc, // jnz to the line before
	0xf4, // hlt
}

type kvmMemory struct {
	slot, flags      uint32
	address, size    uint64
	userspaceAddress uint64
}

// kvmRegs: sixteen registers, rip, rflags.
type kvmRegs [18]uint64

// runGuest makes a guest, and runs it until it halts.
func runGuest() error {
	kvm, err := unix.Open(kvmDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("it cannot be opened: %w", err)
	}
	if version, err := control(kvm, kvmGetAPIVersion, 0); err != nil || version != kvmVersion {
		return fmt.Errorf("it speaks version %d of its protocol: %w", version, err)
	}
	vm, err := control(kvm, kvmCreateVM, 0)
	if err != nil {
		return fmt.Errorf("it makes no guest: %w", err)
	}
	page := unix.Getpagesize()
	memory, err := unix.Mmap(-1, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	copy(memory, countdown)
	region := kvmMemory{size: uint64(page), userspaceAddress: uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if _, err := control(vm, kvmSetMemory, uintptr(unsafe.Pointer(&region))); err != nil {
		return fmt.Errorf("it gives a guest no memory: %w", err)
	}
	cpu, err := control(vm, kvmCreateVCPU, 0)
	if err != nil {
		return fmt.Errorf("it gives a guest no processor: %w", err)
	}
	return halt(kvm, cpu)
}

// halt runs the processor from address 0 in real mode until it halts.
func halt(kvm, cpu int) error {
	size, err := control(kvm, kvmGetMmapSize, 0)
	if err != nil {
		return err
	}
	shared, err := unix.Mmap(cpu, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	var special [sregsSize]byte
	if _, err := control(cpu, kvmGetSregs, uintptr(unsafe.Pointer(&special[0]))); err != nil {
		return err
	}
	clear(special[:8]) // the base of the code segment, and its selector
	special[12], special[13] = 0, 0
	if _, err := control(cpu, kvmSetSregs, uintptr(unsafe.Pointer(&special[0]))); err != nil {
		return err
	}
	regs := kvmRegs{17: 2}
	if _, err := control(cpu, kvmSetRegs, uintptr(unsafe.Pointer(&regs))); err != nil {
		return err
	}
	if _, err := control(cpu, kvmRun, 0); err != nil {
		return fmt.Errorf("a guest does not run: %w", err)
	}
	if reason := *(*uint32)(unsafe.Pointer(&shared[8])); reason != exitHalt {
		return fmt.Errorf("a guest that halts ended with reason %d", reason)
	}
	return nil
}

func control(fd int, request, argument uintptr) (int, error) {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, argument)
	if errno != 0 {
		return 0, errno
	}
	return int(result), nil
}
