package pebblelog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
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
	if IsDamage(err) {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return err
}

// IsDamage tells whether an error of Pebble's says that what it had stored is missing or
// changed.
func IsDamage(err error) bool {
	missing := errors.Is(err, fs.ErrNotExist) || errors.Is(err, pebble.ErrDBNotPristine)
	return missing || isUnmarked(err.Error()) || pebble.IsCorruptionError(err)
}

// isUnmarked tells damage for which Pebble has no mark: a table that was cut off,
// and settings that we never had.
func isUnmarked(text string) bool {
	return slices.ContainsFunc([]string{
		"object size mismatch", "comparer name from file", "merger name from file", "not in WALRecoveryDirs",
	}, func(damage string) bool { return strings.Contains(text, damage) })
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
