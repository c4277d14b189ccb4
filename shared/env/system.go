package env

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// System is the real world.
type System struct {
	Clock Clock
	Rand  Rand
	Net   Net
	FS    FS
}

// NewSystem returns the real world.
func NewSystem() System {
	return System{Clock: systemClock{}, Rand: systemRand{}, Net: systemNet{}, FS: systemFS{}}
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) Elapsed() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// The call cannot fail on a kernel that Go supports.
		panic(fmt.Sprintf("clock_gettime(CLOCK_BOOTTIME): %v", err))
	}
	return time.Duration(ts.Nano())
}

func (systemClock) NewTimer(d time.Duration) Timer { return systemTimer{time.NewTimer(d)} }

type systemTimer struct{ *time.Timer }

func (t systemTimer) C() <-chan time.Time { return t.Timer.C }

type systemRand struct{}

func (systemRand) Read(p []byte) (int, error) { return crand.Read(p) }

func (systemRand) Uint64() uint64 {
	var b [8]byte
	crand.Read(b[:]) // never fails since Go 1.24: it ends the process instead
	return binary.LittleEndian.Uint64(b[:])
}

type systemNet struct{}

func (systemNet) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext(ctx, network, address)
}

func (systemNet) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(ctx, network, address)
}

type systemFS struct{}

func (systemFS) ReadFile(name string) ([]byte, error) { return os.ReadFile(name) }

func (systemFS) WriteFile(name string, data []byte, perm os.FileMode) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // the first error is the one to tell
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDir(dir)
}

func (systemFS) Remove(name string) error {
	err := os.Remove(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func (systemFS) ReadDir(name string) ([]string, error) {
	entries, err := os.ReadDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (systemFS) MkdirAll(name string, perm os.FileMode) error {
	name = filepath.Clean(name)
	_, missing := os.Stat(name)
	existing := filepath.Dir(name)
	for _, err := os.Stat(existing); err != nil && existing != filepath.Dir(existing); _, err = os.Stat(existing) {
		existing = filepath.Dir(existing)
	}
	if err := os.MkdirAll(name, perm); err != nil {
		return err
	}
	for dir := name; dir != existing; {
		dir = filepath.Dir(dir)
		err := syncDir(dir)
		if missing == nil && errors.Is(err, unix.EROFS) {
			return nil // it is there, and a disk that takes no writes makes it no safer
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (systemFS) Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(from))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close() // the first error is the one to tell
		return err
	}
	return d.Close()
}
