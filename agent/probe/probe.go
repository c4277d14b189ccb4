// Package probe looks at the machine: what it has for workloads, and at which
// address the others can reach it.
package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/mem"
	"golang.org/x/sys/unix"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// What is kept for the system itself: a tenth of the memory, at least this
	// much.
	reservedMemory = 256 << 20
	// reservedDisk is the part of the disk that is kept for images, logs and the
	// system: one of five.
	reservedDisk = 5
)

// Capacity is what the machine has for workloads; dir is on the disk that they
// write to, and devices are those of the configuration.
func Capacity(ctx context.Context, dir string, devices map[string]uint32) (*skerryv1.Capacity, error) {
	memory, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("the machine's memory: %w", err)
	}
	disk, err := DiskSize(dir)
	if err != nil {
		return nil, err
	}
	devices, huge := withHugePages(devices)
	total := max(0, int64(memory.Total)-huge)
	reserved := max(total/10, reservedMemory)
	return &skerryv1.Capacity{
		CpuMilli:    int64(runtime.NumCPU()) * 1000,
		MemoryBytes: max(0, total-reserved),
		DiskBytes:   int64(disk - disk/reservedDisk),
		Devices:     devices,
	}, nil
}

// withHugePages adds the huge pages that the machine has reserved to its devices,
// and tells how many bytes they are: memory that nothing else can have.
func withHugePages(devices map[string]uint32) (with map[string]uint32, bytes int64) {
	with = maps.Clone(devices)
	for size, page := range manifest.HugePages {
		text, err := os.ReadFile(fmt.Sprintf("/sys/kernel/mm/hugepages/hugepages-%dkB/nr_hugepages", page>>10))
		count, wrong := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
		if err != nil || wrong != nil || count == 0 {
			continue // the machine has none
		}
		if with == nil {
			with = map[string]uint32{}
		}
		with[manifest.HugePageDevice(size)] = uint32(count)
		bytes += int64(count) * page
	}
	return with, bytes
}

// Address is the machine's own address: that of the interface with the default
// route, else the first global one of an interface that is up.
func Address() (string, error) {
	// Connecting a UDP socket sends nothing; it only asks the routing table.
	if conn, err := net.Dial("udp", "203.0.113.1:9"); err == nil {
		defer func() { _ = conn.Close() }() // nothing was sent
		return conn.LocalAddr().(*net.UDPAddr).IP.String(), nil
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("the machine's addresses: %w", err)
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			return network.IP.String(), nil
		}
	}
	return "", problem.New(problem.Invalid, "address", "this machine has no address that others could reach").
		WithHint("bring up its network, or set address in the configuration")
}

// DiskSize is how much the file system of a directory holds, or that of its
// parent while it does not exist yet, in bytes.
func DiskSize(dir string) (uint64, error) {
	var stat unix.Statfs_t
	err := unix.Statfs(dir, &stat)
	for errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &stat)
	}
	if err != nil {
		return 0, fmt.Errorf("the size of the disk of %s: %w", dir, err)
	}
	return stat.Blocks * uint64(stat.Bsize), nil
}

// FreeSpace is what root may still write to the file system of a directory, in
// bytes.
func FreeSpace(dir string) (uint64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("the room on the disk of %s: %w", dir, err)
	}
	return stat.Bfree * uint64(stat.Bsize), nil
}

// ReadOnly tells whether the file system of a directory takes no writes, as after
// the kernel has found it damaged. The mount does not always say so.
func ReadOnly(dir string) bool {
	return errors.Is(unix.UtimesNanoAt(unix.AT_FDCWD, dir, nil, 0), unix.EROFS)
}

// FreeDescriptors is how many files this process may still open.
func FreeDescriptors() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxInt // nothing is known of a limit
	}
	open, err := os.ReadDir("/proc/self/fd")
	switch {
	case errors.Is(err, unix.EMFILE):
		return 0
	case err != nil:
		return math.MaxInt
	}
	return int(min(limit.Cur, math.MaxInt32)) - len(open)
}

// Reserve makes a file that takes size bytes of its disk, until it is removed.
// Nothing is done when it is there already.
func Reserve(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(file.Fd()), 0, 0, size)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
