package pebblelog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// extentBytes of a record: the mark, and its CRC-32C.
const extentBytes = 3*8 + chainBytes + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark is a point that the log has reached: its last entry, and the term and
// the vote, which must not be forgotten either.
type mark struct {
	index      uint64
	chain      chain
	term, vote uint64
}

// after tells whether a log that has reached m has reached other before, as
// long as no entries went.
func (m mark) after(other mark) bool {
	if m.term != other.term || m.index != other.index {
		return m.term > other.term || (m.term == other.term && m.index > other.index)
	}
	return other.vote == 0
}

// extentFile is the second small file: up to where the log is durable. It is
// rewritten in place after each durable batch, without an fsync of its own: it
// is a lower bound, and may lag behind after a power cut. Two slots are
// written in turn, so that a torn write loses only the newer one.
type extentFile struct {
	mark

	file vfs.File
	slot int64
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
	zero := encodeExtent(mark{})
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

// read takes the slot that was written last; false when neither is whole.
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
		if m := decodeExtent(body); !found || m.after(e.mark) {
			e.mark, e.slot = m, slot
		}
		found = true
	}
	return found
}

// write records what is durable.
func (e *extentFile) write(m mark) error {
	slot := 1 - e.slot
	if _, err := e.file.WriteAt(encodeExtent(m), slot*extentBytes); err != nil {
		return err
	}
	e.mark, e.slot = m, slot
	return nil
}

// lower takes back that entries after index are durable: in both slots, and
// durably, before they go.
func (e *extentFile) lower(index uint64, at chain) error {
	m := mark{index: index, chain: at, term: e.term, vote: e.vote}
	record := encodeExtent(m)
	if _, err := e.file.WriteAt(append(record, record...), 0); err != nil {
		return err
	}
	if err := e.file.Sync(); err != nil {
		return err
	}
	e.mark = m
	return nil
}

func (e *extentFile) close() error { return e.file.Close() }

func encodeExtent(m mark) []byte {
	record := binary.BigEndian.AppendUint64(make([]byte, 0, extentBytes), m.index)
	record = append(record, m.chain[:]...)
	record = binary.BigEndian.AppendUint64(record, m.term)
	record = binary.BigEndian.AppendUint64(record, m.vote)
	return binary.BigEndian.AppendUint32(record, crc32.Checksum(record, castagnoli))
}

func decodeExtent(body []byte) mark {
	return mark{
		index: binary.BigEndian.Uint64(body),
		chain: chain(body[8:]),
		term:  binary.BigEndian.Uint64(body[8+chainBytes:]),
		vote:  binary.BigEndian.Uint64(body[16+chainBytes:]),
	}
}
