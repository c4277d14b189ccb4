package main

import (
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
)

// maxUnsynced bytes of a file; what is older counts as written back, as a kernel
// does by itself.
const maxUnsynced = 16 << 20

// journal is what has not been brought to the disk: of each file what was there
// before. Names are not in it: they count as durable at once.
type journal struct {
	mu    sync.Mutex
	files map[uint64]*undo
}

// undo of one file, the oldest change first.
type undo struct {
	file    *os.File
	changes []change
	bytes   int
}

// change of a file: what it held from at on, and how long it was.
type change struct {
	at, size int64
	was      []byte
}

// before a change of so many bytes at a place, from there to the end if length
// is negative.
func (j *journal) before(fd int, at, length int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	u := j.files[st.Ino]
	if u == nil {
		// A handle of its own: the one that writes may be closed before the end.
		again, err := os.OpenFile(procPath(fd), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		u = &undo{file: again}
		j.files[st.Ino] = u
	}
	c := change{at: at, size: st.Size}
	if end := st.Size; at < end {
		if length >= 0 {
			end = min(end, at+length)
		}
		c.was = make([]byte, end-at)
		if _, err := u.file.ReadAt(c.was, at); err != nil {
			return err
		}
	}
	u.changes, u.bytes = append(u.changes, c), u.bytes+len(c.was)+64
	for u.bytes > maxUnsynced {
		u.bytes -= len(u.changes[0].was) + 64
		u.changes = u.changes[1:]
	}
	return nil
}

// synced: the file is on the disk as it is.
func (j *journal) synced(fd int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	u := j.files[st.Ino]
	if u == nil {
		return nil
	}
	delete(j.files, st.Ino)
	return u.file.Close()
}

// lose what one file has not on the disk.
func (j *journal) lose(fd int) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	return j.undo(st.Ino)
}

func (j *journal) loseAll() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var failures error
	for inode := range j.files {
		failures = errors.Join(failures, j.undo(inode))
	}
	return failures
}

// undo what happened to a file, the newest first. It needs mu.
func (j *journal) undo(inode uint64) error {
	u := j.files[inode]
	if u == nil {
		return nil
	}
	delete(j.files, inode)
	var failures error
	for _, c := range slices.Backward(u.changes) {
		_, err := u.file.WriteAt(c.was, c.at)
		failures = errors.Join(failures, err, u.file.Truncate(c.size))
	}
	return errors.Join(failures, u.file.Close())
}
