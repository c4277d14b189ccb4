package pebblelog

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// ErrUntrusted says that records are missing or changed that were once
// durable.
var ErrUntrusted = errors.New("log untrusted")

// openError tells damage from all else: a disk that is full or cannot be read
// at the moment, a log of a newer version, a log that is in use.
func openError(err error) error {
	missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, pebble.ErrDBNotPristine)
	// Pebble has no mark for a table that was cut off.
	cut := strings.Contains(err.Error(), "object size mismatch")
	if missing || cut || pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return err
}

// damage is the first one that Pebble came upon by itself, when it rewrote its
// tables.
type damage struct {
	found atomic.Pointer[pebble.DataCorruptionInfo]
}

// listener replaces Pebble's own, which would end the process and leave no
// word for the next one, over and over.
func (d *damage) listener() *pebble.EventListener {
	return &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) {
		d.found.CompareAndSwap(nil, &info)
	}}
}

func (d *damage) err() error {
	info := d.found.Load()
	if info == nil {
		return nil
	}
	return fmt.Errorf("%w: %s is damaged: %w", ErrUntrusted, info.Path, info.Details)
}
