package audit

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// magic is the first line of an export.
const magic = "skerry audit export 1\n"

const (
	// maxHeader bounds the header: the chain of trust is in it.
	maxHeader = 64 << 20
	// maxRecord bounds the others.
	maxRecord = maxLeaf + 64
)

// WriteExport writes an export: header, leaves, end. each calls its argument
// with the data of every leaf from header.First on.
func WriteExport(w io.Writer, header *sitev1.ExportHeader, each func(func(data []byte) error) error) error {
	buffered := bufio.NewWriter(w)
	if _, err := buffered.WriteString(magic); err != nil {
		return err
	}
	put := func(record *sitev1.ExportRecord) error { return writeRecord(buffered, record) }
	if err := put(&sitev1.ExportRecord{Record: &sitev1.ExportRecord_Header{Header: header}}); err != nil {
		return err
	}
	leaves := uint64(0)
	err := each(func(data []byte) error {
		leaves++
		return put(&sitev1.ExportRecord{Record: &sitev1.ExportRecord_Leaf{Leaf: data}})
	})
	if err != nil {
		return err
	}
	if want := header.GetSize() - header.GetFirst(); leaves != want {
		return fmt.Errorf("%d leaves came, %d were announced", leaves, want)
	}
	if err := put(&sitev1.ExportRecord{Record: &sitev1.ExportRecord_End{End: &sitev1.ExportEnd{Leaves: leaves}}}); err != nil {
		return err
	}
	return buffered.Flush()
}

func writeRecord(w *bufio.Writer, record *sitev1.ExportRecord) error {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(record)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.AppendUvarint(nil, uint64(len(encoded)))); err != nil {
		return err
	}
	_, err = w.Write(encoded)
	return err
}

// records reads an export, one record after the other.
type records struct {
	r       *bufio.Reader
	buffer  []byte
	again   []byte
	options proto.MarshalOptions
}

func readRecords(r io.Reader) (*records, error) {
	in := &records{r: bufio.NewReaderSize(r, 64<<10), options: proto.MarshalOptions{Deterministic: true}}
	first := make([]byte, len(magic))
	if _, err := io.ReadFull(in.r, first); err != nil || string(first) != magic {
		return nil, errors.New("this is no export of an audit log")
	}
	return in, nil
}

// next returns a record that is not longer than limit. A record that was
// written in another way than WriteExport does is refused, so that no byte of
// an export can be changed unseen.
func (in *records) next(limit int) (*sitev1.ExportRecord, error) {
	length, err := binary.ReadUvarint(in.r)
	if err != nil {
		return nil, errors.New("the file ends in the middle")
	}
	if length == 0 || length > uint64(limit) {
		return nil, fmt.Errorf("a record of %d bytes is not possible here", length)
	}
	if cap(in.buffer) < int(length) {
		if in.buffer, err = io.ReadAll(io.LimitReader(in.r, int64(length))); err != nil {
			return nil, err
		}
	} else {
		in.buffer = in.buffer[:length]
		n, err := io.ReadFull(in.r, in.buffer)
		in.buffer = in.buffer[:n]
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if uint64(len(in.buffer)) < length {
		return nil, errors.New("the file ends in the middle")
	}
	record := &sitev1.ExportRecord{}
	if err := proto.Unmarshal(in.buffer, record); err != nil {
		return nil, fmt.Errorf("a record does not parse: %w", err)
	}
	if in.again, err = in.options.MarshalAppend(in.again[:0], record); err != nil {
		return nil, err
	}
	if string(in.again) != string(in.buffer) {
		return nil, errors.New("a record was written in an unusual way")
	}
	return record, nil
}

// end refuses what comes after the end.
func (in *records) end() error {
	if _, err := in.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the end of the export")
	}
	return nil
}
