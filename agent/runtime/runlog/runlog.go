// Package runlog keeps what instances wrote: one directory an instance, in which
// the file 0 is written by whoever runs it, and 1 and up are older and older.
//
// The writer appends, so a copied file is truncated under it and nothing that
// runs waits for the agent.
package runlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// RotateEvery is how often Rotate should be called.
	RotateEvery = 2 * time.Second
	// maxLogBytes of one file; the oldest of maxLogFiles goes when another one
	// is full.
	maxLogBytes = 10 << 20
	maxLogFiles = 3
	// followEvery is how often a followed log is looked at.
	followEvery = 100 * time.Millisecond
	// tailBlock is read at once when lines are counted from the end.
	tailBlock = 64 << 10
)

// Logs of all instances of a driver. It is safe for concurrent use.
type Logs struct {
	dir   string
	clock env.Clock

	// mu orders rotation, which takes it whole, against reading.
	mu sync.RWMutex
	// rotations of each log since the driver began: readers keep their place
	// by it.
	rotations map[string]int
}

// New returns the logs below a directory, which need not exist.
func New(dir string, clock env.Clock) *Logs {
	return &Logs{dir: dir, clock: clock, rotations: map[string]int{}}
}

// File that whoever runs an instance appends to is the one of age 0.
func (l *Logs) File(id string, age int) string {
	return filepath.Join(l.dir, id, strconv.Itoa(age))
}

// Create makes the log so that whoever runs the instance finds it; what is there
// stays.
func (l *Logs) Create(id string) error {
	if err := os.MkdirAll(filepath.Join(l.dir, id), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(l.File(id, 0), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// Remove the log of an instance.
func (l *Logs) Remove(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.rotations, id)
	return os.RemoveAll(filepath.Join(l.dir, id))
}

// Rotate keeps every log within its bounds.
func (l *Logs) Rotate() error {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing has run yet
	}
	if err != nil {
		return err
	}
	var failed []error
	for _, entry := range entries {
		info, err := os.Stat(l.File(entry.Name(), 0))
		if err == nil && info.Size() >= maxLogBytes {
			err = l.RotateOne(entry.Name())
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("%s: %w", entry.Name(), err))
		}
	}
	return errors.Join(failed...)
}

// RotateOne begins a new file for one instance.
func (l *Logs) RotateOne(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for age := maxLogFiles - 1; age > 1; age-- {
		if err := os.Rename(l.File(id, age-1), l.File(id, age)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	l.rotations[id]++
	// A failure from here on loses no more than what the copy lacks.
	from, err := os.OpenFile(l.File(id, 0), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	to, err := os.OpenFile(l.File(id, 1), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	_, err = io.Copy(to, from)
	if err == nil {
		err = from.Truncate(0)
	}
	return errors.Join(err, to.Close(), from.Close())
}

// Has tells whether there is a log of an instance.
func (l *Logs) Has(id string) bool {
	_, err := os.Lstat(l.File(id, 0))
	return err == nil
}

// Open returns a reader over all files, oldest first.
func (l *Logs) Open(ctx context.Context, id string, opts runtime.LogOptions) (io.ReadCloser, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.Has(id) {
		return nil, problem.New(problem.NotFound, id, "it has no log on this node")
	}
	r := &logReader{ctx: ctx, logs: l, id: id, follow: opts.Follow, rotations: l.rotations[id], age: maxLogFiles - 1}
	if opts.Tail > 0 {
		if err := r.seekTail(opts.Tail); err != nil {
			return nil, problem.New(problem.Internal, id, "its log cannot be read: %w", err)
		}
	}
	return r, nil
}

// logReader keeps its place while files are rotated under it: age and offset
// count from the time when the log had been rotated so often.
type logReader struct {
	ctx       context.Context //nolint:containedctx // a reader has no other way to be ended
	logs      *Logs
	id        string
	follow    bool
	rotations int
	age       int
	offset    int64
}

func (r *logReader) Read(p []byte) (int, error) {
	for {
		if err := r.ctx.Err(); err != nil {
			return 0, io.EOF
		}
		n, err := r.read(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if !r.follow {
			return 0, io.EOF
		}
		if env.Sleep(r.ctx, r.logs.clock, followEvery) != nil {
			return 0, io.EOF
		}
	}
}

func (r *logReader) Close() error { return nil }

// read returns the next bytes that are there, or io.EOF.
func (r *logReader) read(p []byte) (int, error) {
	r.logs.mu.RLock()
	defer r.logs.mu.RUnlock()
	r.age += r.logs.rotations[r.id] - r.rotations
	r.rotations = r.logs.rotations[r.id]
	if r.age >= maxLogFiles { // what came next is gone
		r.age, r.offset = maxLogFiles-1, 0
	}
	for {
		n, err := readAt(r.logs.File(r.id, r.age), p, r.offset)
		r.offset += int64(n)
		if n > 0 || err != nil || r.age == 0 {
			if n == 0 && err == nil {
				err = io.EOF
			}
			return n, err
		}
		r.age, r.offset = r.age-1, 0
	}
}

// readAt reads what a file has at the offset; nothing when there is no file.
func readAt(name string, p []byte, offset int64) (n int, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // opened for reading only
	n, err = f.ReadAt(p, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// seekTail goes to the begin of the last lines. A last line without its end
// counts.
func (r *logReader) seekTail(lines int) error {
	buffer := make([]byte, tailBlock)
	last := true // the end of the last line begins no other one
	for age := 0; age < maxLogFiles; age++ {
		info, err := os.Stat(r.logs.File(r.id, age))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		for end := info.Size(); end > 0; {
			begin := max(0, end-tailBlock)
			n, err := readAt(r.logs.File(r.id, age), buffer[:end-begin], begin)
			if err != nil {
				return err
			}
			for i := n - 1; i >= 0; i-- {
				if buffer[i] == '\n' && !last {
					if lines--; lines == 0 {
						r.age, r.offset = age, begin+int64(i)+1
						return nil
					}
				}
				last = false
			}
			end = begin
		}
	}
	return nil
}
