// Package env names the seams between Skerry and the world: clock, randomness,
// network and files. (The fifth, the runtime driver, is owned by
// agent/runtime.) Everything outside the thin shells takes them as values, so
// that the simulator can put a whole site on simulated ones.
//
// The package holds the interfaces and their one real implementation each. It
// must not grow helpers.
package env

import (
	"context"
	"net"
	"os"
	"time"
)

// Clock tells time. Wall and elapsed time are kept apart on purpose: nothing
// that matters for safety may use the wall clock.
type Clock interface {
	// Now is the machine's wall clock. It may jump, also backwards.
	Now() time.Time
	// Elapsed is the time since an arbitrary fixed point. It never goes back
	// and goes on while the machine sleeps (CLOCK_BOOTTIME).
	Elapsed() time.Duration
	// NewTimer fires once, d from now, on elapsed time.
	NewTimer(d time.Duration) Timer
}

// Timer is a pending firing, as time.Timer.
type Timer interface {
	C() <-chan time.Time
	// Stop prevents the firing; false when it was too late.
	Stop() bool
	// Reset arms the timer anew; nothing stale is left in C.
	Reset(d time.Duration) bool
}

// Rand is a source of randomness; Read fills p wholly and never fails.
type Rand interface {
	Read(p []byte) (int, error)
	Uint64() uint64
}

// Net opens connections and listens for them, as package net does.
type Net interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	Listen(ctx context.Context, network, address string) (net.Listener, error)
}

// FS keeps small files. Paths are absolute.
type FS interface {
	// ReadFile returns an error for which errors.Is(err, fs.ErrNotExist) holds
	// when there is no such file.
	ReadFile(name string) ([]byte, error)
	// WriteFile replaces the file by data so that a crash leaves either the old
	// or the new content, and returns when the new one is durable: temporary
	// file, fsync, rename, fsync of the directory.
	WriteFile(name string, data []byte, perm os.FileMode) error
	// Remove removes a file durably; no error when there is none.
	Remove(name string) error
	// ReadDir lists the names in a directory, sorted; none when there is no
	// such directory.
	ReadDir(name string) ([]string, error)
	// MkdirAll creates a directory and its parents with perm, durably.
	MkdirAll(name string, perm os.FileMode) error
	// Rename moves a file or directory durably.
	Rename(from, to string) error
}

// Sleep waits for d on the clock's elapsed time, or until ctx ends, whose
// error it then returns.
func Sleep(ctx context.Context, clock Clock, d time.Duration) error {
	timer := clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
