package pebblelog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// extentBytes of a record: index, chain hash, CRC-32C of both.
const extentBytes = 8 + chainBytes + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// extentFile is the second small file: up to where the log is durable. It is
// rewritten in place after each durable batch, without an fsync of its own: it
// is a lower bound, and may lag behind after a power cut. Two slots are
// written in turn, so that a torn write loses only the newer one.
type extentFile struct {
	file  vfs.File
	slot  int64
	index uint64
	chain chain
}

// openExtent opens the file; one that is missing is made when the log is
// empty, and else is a sign of damage.
func openExtent(fs vfs.FS, name string, empty bool) (*extentFile, error) {
	_, err := fs.Stat(name)
	if err != nil && !empty {
		return nil, fmt.Errorf("%w: the record of what is durable cannot be read: %w", ErrUntrusted, err)
	}
	if err != nil {
		if err := create(fs, name); err != nil {
			return nil, err
		}
	}
	file, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	e := &extentFile{file: file}
	if !e.read() && !empty {
		_ = file.Close() // the other error is the one to tell
		return nil, fmt.Errorf("%w: the record of what is durable is damaged", ErrUntrusted)
	}
	return e, nil
}

// create makes the file durably, with both slots at zero.
func create(fs vfs.FS, name string) error {
	file, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	zero := encodeExtent(0, chain{})
	if _, err := file.Write(append(zero, zero...)); err != nil {
		_ = file.Close() // the first error is the one to tell
		return err
	}
	if err := file.Sync(); err != nil {
		_ = file.Close() // the first error is the one to tell
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return syncDir(fs, fs.PathDir(name))
}

// syncDir makes the names in a directory durable.
func syncDir(fs vfs.FS, name string) error {
	dir, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	if err := dir.Sync(); err != nil {
		_ = dir.Close() // the first error is the one to tell
		return err
	}
	return dir.Close()
}

// read takes the slot with the higher index; false when neither is whole.
func (e *extentFile) read() bool {
	found := false
	for slot := range int64(2) {
		var record [extentBytes]byte
		if _, err := e.file.ReadAt(record[:], slot*extentBytes); err != nil && err != io.EOF {
			continue
		}
		body, sum := record[:extentBytes-4], binary.BigEndian.Uint32(record[extentBytes-4:])
		if crc32.Checksum(body, castagnoli) != sum {
			continue
		}
		if index := binary.BigEndian.Uint64(body); !found || index > e.index {
			e.index, e.chain, e.slot = index, chain(body[8:]), slot
		}
		found = true
	}
	return found
}

// write records that the log is durable up to index.
func (e *extentFile) write(index uint64, at chain) error {
	slot := 1 - e.slot
	if _, err := e.file.WriteAt(encodeExtent(index, at), slot*extentBytes); err != nil {
		return err
	}
	e.index, e.chain, e.slot = index, at, slot
	return nil
}

// lower takes back that entries after index are durable: in both slots, and
// durably, before they go.
func (e *extentFile) lower(index uint64, at chain) error {
	record := encodeExtent(index, at)
	if _, err := e.file.WriteAt(append(record, record...), 0); err != nil {
		return err
	}
	if err := e.file.Sync(); err != nil {
		return err
	}
	e.index, e.chain = index, at
	return nil
}

func (e *extentFile) close() error { return e.file.Close() }

func encodeExtent(index uint64, at chain) []byte {
	record := binary.BigEndian.AppendUint64(make([]byte, 0, extentBytes), index)
	record = append(record, at[:]...)
	return binary.BigEndian.AppendUint32(record, crc32.Checksum(record, castagnoli))
}
