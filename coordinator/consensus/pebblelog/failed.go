package pebblelog

import (
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// failedFile says that the disk did not take what was written.
	failedFile = "failed"
	// maxWhy bounds what is read of it, in bytes.
	maxWhy = 4 << 10
)

// keepFailed leaves word for the next process that this log must not be used any
// more: what the disk did not take may still be read from memory until the power
// goes, and would be taken for durable. The word needs to last no longer than that,
// so nobody waits for an fsync, which may be what failed. An empty one will do.
func keepFailed(fs vfs.FS, dir, why string) {
	file, err := fs.Create(fs.PathJoin(dir, failedFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return // a disk that takes no file at all lets no log be opened either
	}
	_, _ = file.Write([]byte(why))
	_ = file.Close()
}

// checkFailed refuses a log whose disk once did not take what was written.
func checkFailed(fs vfs.FS, dir string) error {
	name := fs.PathJoin(dir, failedFile)
	if _, err := fs.Stat(name); err != nil {
		return nil // there is none; what else is wrong shows when the log is read
	}
	var why []byte
	if file, err := fs.Open(name); err == nil {
		why, _ = io.ReadAll(io.LimitReader(file, maxWhy))
		_ = file.Close() // opened for reading only
	}
	return fmt.Errorf("%w: the disk did not take what was written: %s", ErrUntrusted, why)
}
