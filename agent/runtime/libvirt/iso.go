package libvirt

import (
	"encoding/binary"
	"unicode/utf16"
)

// A disk with a few small files, as ISO 9660 with Joliet names: every guest can
// read it, and no program is needed to make it.
const (
	sector      = 2048
	isoPrimary  = 1
	isoJoliet   = 2
	isoFirst    = 16 // sector of the first descriptor
	isoPaths    = 19 // two path tables for each set of names
	isoRoots    = 23 // one directory for each set of names
	isoFiles    = 25
	isoRootFlag = 2
)

// isoFile is one file of the root directory.
type isoFile struct {
	name    string
	content []byte
	at      int // sector
}

// iso returns the disk. The files are sorted by name; they fit into one sector of
// directory.
func iso(label string, files []isoFile) []byte {
	next := isoFiles
	for i := range files {
		files[i].at = next
		next += (len(files[i].content) + sector - 1) / sector
	}
	disk := make([]byte, next*sector)
	plainText := func(text string) []byte { return []byte(text) }
	for i, names := range []func(string) []byte{plainText, wide} {
		kind := byte(isoPrimary)
		if i == 1 {
			kind = isoJoliet
		}
		root := isoRecord([]byte{0}, isoRoots+i, sector, isoRootFlag)
		paths := isoPaths + 2*i
		copy(disk[(isoFirst+i)*sector:], descriptor(kind, names(label), root, next, paths))
		pathTable := []byte{1, 0, 0, 0, 0, 0, 1, 0, 0, 0}
		binary.LittleEndian.PutUint32(pathTable[2:], uint32(isoRoots+i))
		copy(disk[paths*sector:], pathTable)
		binary.BigEndian.PutUint32(pathTable[2:], uint32(isoRoots+i))
		pathTable[6], pathTable[7] = 0, 1
		copy(disk[(paths+1)*sector:], pathTable)
		copy(disk[(isoRoots+i)*sector:], directory(isoRoots+i, files, names))
	}
	copy(disk[(isoFirst+2)*sector:], "\xffCD001\x01")
	for _, f := range files {
		copy(disk[f.at*sector:], f.content)
	}
	return disk
}

// both writes a number in both orders of bytes.
func both(into []byte, n int) {
	binary.LittleEndian.PutUint32(into, uint32(n))
	binary.BigEndian.PutUint32(into[4:], uint32(n))
}

func both16(into []byte, n int) {
	binary.LittleEndian.PutUint16(into, uint16(n))
	binary.BigEndian.PutUint16(into[2:], uint16(n))
}

// wide is text as Joliet has it.
func wide(text string) []byte {
	var out []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		out = binary.BigEndian.AppendUint16(out, unit)
	}
	return out
}

func descriptor(kind byte, label, root []byte, sectors, paths int) []byte {
	d := make([]byte, sector)
	d[0], d[6] = kind, 1
	copy(d[1:], "CD001")
	blank(d[8:72], kind)
	blank(d[40:72], kind)
	copy(d[40:72], label)
	both(d[80:], sectors)
	if kind == isoJoliet {
		copy(d[88:], "%/E")
	}
	both16(d[120:], 1)
	both16(d[124:], 1)
	both16(d[128:], sector)
	both(d[132:], 10) // bytes of the path table
	binary.LittleEndian.PutUint32(d[140:], uint32(paths))
	binary.BigEndian.PutUint32(d[148:], uint32(paths+1))
	copy(d[156:], root)
	blank(d[190:813], kind)
	for at := 813; at < 881; at += 17 {
		copy(d[at:], "0000000000000000")
	}
	d[881] = 1
	return d
}

// blank fills a field with spaces.
func blank(field []byte, kind byte) {
	for i := range field {
		field[i] = ' '
		if kind == isoJoliet && i%2 == 0 {
			field[i] = 0
		}
	}
}

func directory(at int, files []isoFile, names func(string) []byte) []byte {
	dir := append(isoRecord([]byte{0}, at, sector, isoRootFlag), isoRecord([]byte{1}, at, sector, isoRootFlag)...)
	for _, f := range files {
		dir = append(dir, isoRecord(names(f.name), f.at, len(f.content), 0)...)
	}
	return dir
}

func isoRecord(name []byte, at, size int, flags byte) []byte {
	const fixed = 33
	r := make([]byte, (fixed+len(name)+1)/2*2)
	r[0], r[25], r[32] = byte(len(r)), flags, byte(len(name))
	both(r[2:], at)
	both(r[10:], size)
	copy(r[18:], []byte{70, 1, 1, 0, 0, 0, 0}) // no date
	both16(r[28:], 1)
	copy(r[fixed:], name)
	return r
}
