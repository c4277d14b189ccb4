// Package spool keeps records on a node's own disk until somebody else has them:
// what must not be lost while there is nobody to be told.
package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"
	"sync"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxSpool bounds the file, maxRecord one record, in bytes.
	maxSpool  = 512 << 10
	maxRecord = 16 << 10
	// frame is what goes before a record: its length and its SHA-256.
	frame = 4 + sha256.Size
)

// Spool is a queue in one file. It is safe for concurrent use.
type Spool struct {
	files env.FS
	path  string

	mu      sync.Mutex
	records [][]byte
	size    int
}

// Open reads the spool in a file; there need be none yet. Records that are
// damaged are left out: the file is then kept beside under another name, and
// damaged says which.
func Open(files env.FS, path string) (s *Spool, damaged string, err error) {
	s = &Spool{files: files, path: path}
	data, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, "", nil
	}
	if err != nil {
		return nil, "", problem.New(problem.Internal, path, "the spool cannot be read: %w", err)
	}
	records, whole := split(data)
	for _, record := range records {
		s.size += frame + len(record)
	}
	s.records = records
	if whole {
		return s, "", nil
	}
	damaged = path + ".damaged"
	if err := files.WriteFile(damaged, data, 0o600); err != nil {
		return nil, "", problem.New(problem.Internal, damaged, "the damaged spool cannot be kept: %w", err)
	}
	return s, damaged, s.write(records)
}

// split returns the records that are whole, and whether all are.
func split(data []byte) (records [][]byte, whole bool) {
	whole = true
	for len(data) > 0 {
		if len(data) < frame {
			return records, false
		}
		length := int(binary.BigEndian.Uint32(data))
		if length > maxRecord || length > len(data)-frame {
			return records, false
		}
		record := data[frame : frame+length]
		if sum := sha256.Sum256(record); bytes.Equal(sum[:], data[4:frame]) {
			records = append(records, slices.Clone(record))
		} else {
			whole = false
		}
		data = data[frame+length:]
	}
	return records, whole
}

// Add keeps a record, durably when it returns.
func (s *Spool) Add(record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(record) > maxRecord {
		return problem.New(problem.Invalid, s.path, "a record of %d bytes is too long, %d are possible", len(record), maxRecord)
	}
	if s.size+frame+len(record) > maxSpool {
		return problem.New(problem.Exhausted, s.path, "what waits for the audit log fills its %d KiB: %d records", maxSpool>>10, len(s.records)).
			WithHint("bring the node into reach of the coordinator: it takes them over")
	}
	records := append(slices.Clone(s.records), slices.Clone(record))
	if err := s.write(records); err != nil {
		return err
	}
	s.records, s.size = records, s.size+frame+len(record)
	return nil
}

// First is the oldest record; nil when there is none.
func (s *Spool) First() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) == 0 {
		return nil
	}
	return s.records[0]
}

// Drop forgets the oldest record, if it is this one. After a crash it may be
// there again.
func (s *Spool) Drop(record []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) == 0 || !bytes.Equal(s.records[0], record) {
		return nil
	}
	rest := s.records[1:]
	if err := s.write(rest); err != nil {
		return err
	}
	s.records, s.size = rest, s.size-frame-len(record)
	return nil
}

// write replaces the file whole: a crash leaves the old or the new one.
func (s *Spool) write(records [][]byte) error {
	var data []byte
	for _, record := range records {
		data = binary.BigEndian.AppendUint32(data, uint32(len(record)))
		sum := sha256.Sum256(record)
		data = append(append(data, sum[:]...), record...)
	}
	if err := s.files.WriteFile(s.path, data, 0o600); err != nil {
		return problem.New(problem.Internal, s.path, "what must get into the audit log cannot be kept: %w", err).
			WithHint("is the disk full?")
	}
	return nil
}
