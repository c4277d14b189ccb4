package diskimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Header of a qcow2 file, as far as it matters here. Numbers are big-endian.
const (
	qcow2Magic       = "QFI\xfb"
	qcow2MinClusters = 9 // bits of a cluster's size
	qcow2MaxClusters = 21
	qcow2MaxL1       = 32 << 20 / 8
	// Incompatible features: only a dirty or odd-sized-compression file is taken.
	featureDirty    = 1 << 0
	featureCorrupt  = 1 << 1
	featureExternal = 1 << 2
	featureCompress = 1 << 3
	featureExtended = 1 << 4
	offsetMask      = 0x00fffffffffffe00
	compressedEntry = 1 << 62
	versionTwo      = 2
	versionThree    = 3
)

// qcow2 is what a header says.
type qcow2 struct {
	clusterBits uint32
	size        uint64
	l1Entries   uint32
	l1Offset    uint64
	refOffset   uint64
	refClusters uint32
}

var (
	errBacking   = errors.New("it is an overlay: it names a backing file, which is not taken from outside")
	errExternal  = errors.New("its data is in another file, which it names")
	errEncrypted = errors.New("it is encrypted, and nobody here has the key")
	errTruncated = errors.New("it is truncated: parts of it lie behind its end; was it copied whole?")
)

// parseQCOW2 reads the header of a file of so many bytes. It is strict: what is
// not understood is refused.
func parseQCOW2(header []byte, fileBytes int64) (*qcow2, error) {
	const lengthV2, lengthV3 = 72, 104
	if len(header) < lengthV2 || string(header[:4]) != qcow2Magic {
		return nil, errors.New("it is not a qcow2 file")
	}
	number := func(at int) uint32 { return binary.BigEndian.Uint32(header[at:]) }
	long := func(at int) uint64 { return binary.BigEndian.Uint64(header[at:]) }
	version := number(4)
	if version != versionTwo && version != versionThree {
		return nil, fmt.Errorf("it is qcow2 of version %d, only 2 and 3 are known", version)
	}
	if version == versionThree {
		if len(header) < lengthV3 {
			return nil, errTruncated
		}
		if err := features(long(72)); err != nil {
			return nil, err
		}
	}
	switch {
	case long(8) != 0 || number(16) != 0:
		return nil, errBacking
	case number(32) != 0:
		return nil, errEncrypted
	case number(60) != 0:
		return nil, errors.New("it holds snapshots; write it anew: qemu-img convert -O qcow2")
	}
	q := &qcow2{
		clusterBits: number(20), size: long(24), l1Entries: number(36), l1Offset: long(40),
		refOffset: long(48), refClusters: number(56),
	}
	return q, q.check(fileBytes)
}

func features(incompatible uint64) error {
	switch {
	case incompatible&featureExternal != 0:
		return errExternal
	case incompatible&featureCorrupt != 0:
		return errors.New("it is marked as damaged")
	case incompatible&^(featureDirty|featureCompress|featureExtended) != 0:
		return fmt.Errorf("it needs features (%#x) that are not known", incompatible)
	case incompatible&featureExtended != 0:
		return errors.New("it has extended L2 entries; write it anew: qemu-img convert -O qcow2")
	case incompatible&featureDirty != 0:
		return errors.New("it was not closed properly; mend it: qemu-img check -r all")
	}
	return nil
}

// check what the header says against itself and the file.
func (q *qcow2) check(fileBytes int64) error {
	if q.clusterBits < qcow2MinClusters || q.clusterBits > qcow2MaxClusters {
		return fmt.Errorf("its clusters have 2^%d bytes", q.clusterBits)
	}
	if q.size < sectorBytes || q.size > MaxDiskBytes {
		return fmt.Errorf("its disk has %d bytes, at most %d TiB are taken", q.size, MaxDiskBytes>>40)
	}
	perTable := uint64(1) << (2*q.clusterBits - 3) // bytes that one L2 table is for
	needed := (q.size + perTable - 1) / perTable
	if q.l1Entries > qcow2MaxL1 || uint64(q.l1Entries) < needed {
		return fmt.Errorf("its first table has %d entries, %d are needed", q.l1Entries, needed)
	}
	cluster := uint64(1) << q.clusterBits
	for _, table := range []struct{ offset, bytes uint64 }{
		{q.l1Offset, uint64(q.l1Entries) * 8}, {q.refOffset, uint64(q.refClusters) << q.clusterBits},
	} {
		if table.offset == 0 || table.offset%cluster != 0 {
			return errors.New("its tables are not where they can be")
		}
		if table.offset > uint64(fileBytes) || table.bytes > uint64(fileBytes)-table.offset {
			return errTruncated
		}
	}
	return nil
}

// within checks that all that the tables of a file name is inside of it.
func (q *qcow2) within(file io.ReaderAt, fileBytes int64) error {
	l1 := make([]byte, 8*q.l1Entries)
	if _, err := file.ReadAt(l1, int64(q.l1Offset)); err != nil {
		return errTruncated
	}
	l2 := make([]byte, 1<<q.clusterBits)
	room := fileBytes >> q.clusterBits // tables that can be in the file
	for at := 0; at < len(l1); at += 8 {
		table := binary.BigEndian.Uint64(l1[at:]) & offsetMask
		if table == 0 {
			continue
		}
		if room--; room < 0 {
			return errors.New("its tables lie over each other")
		}
		if table > uint64(fileBytes)-uint64(len(l2)) || int64(len(l2)) > fileBytes {
			return errTruncated
		}
		if _, err := file.ReadAt(l2, int64(table)); err != nil {
			return errTruncated
		}
		if err := q.entries(l2, uint64(fileBytes)); err != nil {
			return err
		}
	}
	return nil
}

func (q *qcow2) entries(l2 []byte, fileBytes uint64) error {
	// Of a compressed cluster, the offset has this many bits.
	compressed := uint64(1)<<(62-(q.clusterBits-8)) - 1
	for at := 0; at < len(l2); at += 8 {
		entry := binary.BigEndian.Uint64(l2[at:])
		offset := entry & offsetMask
		if entry&compressedEntry != 0 {
			offset = entry & compressed
		}
		if offset >= fileBytes && offset != 0 {
			return errTruncated
		}
	}
	return nil
}
