package diskimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// file is a qcow2 file of 64 MiB with one cluster of data, as qemu-img would
// write it: header, refcounts, first table, second table, data.
func file() []byte {
	const cluster = 64 << 10
	f := make([]byte, 6*cluster)
	copy(f, qcow2Magic)
	number := func(at int, n uint32) { binary.BigEndian.PutUint32(f[at:], n) }
	long := func(at int, n uint64) { binary.BigEndian.PutUint64(f[at:], n) }
	number(4, 3)
	number(20, 16)
	long(24, 64<<20)
	number(36, 1)
	long(40, 3*cluster)
	long(48, cluster)
	number(56, 1)
	number(100, 104)
	long(cluster, 2*cluster)
	long(3*cluster, 4*cluster|1<<63)
	long(4*cluster, 5*cluster|1<<63)
	return f
}

func raw() []byte {
	f := make([]byte, 1<<20)
	f[bootMark], f[bootMark+1] = 0x55, 0xaa
	return f
}

func TestWhatIsTakenIn(t *testing.T) {
	for name, test := range map[string]struct {
		content   []byte
		format    string
		diskBytes int64
	}{
		"a qcow2 file":                   {file(), QCOW2, 64 << 20},
		"a raw disk with its boot mark":  {raw(), Raw, 1 << 20},
		"a qcow2 file of version 2":      {changed(func(f []byte) { f[7] = 2 }), QCOW2, 64 << 20},
		"a qcow2 file with zstd as name": {changed(func(f []byte) { f[79] = featureCompress }), QCOW2, 64 << 20},
	} {
		format, diskBytes, err := Inspect(bytes.NewReader(test.content), int64(len(test.content)))
		if err != nil || format != test.format || diskBytes != test.diskBytes {
			t.Errorf("%s is %s of %d bytes, %v", name, format, diskBytes, err)
		}
	}
}

func changed(change func(f []byte)) []byte {
	f := file()
	change(f)
	return f
}

func TestWhatIsRefused(t *testing.T) {
	long := binary.BigEndian.PutUint64
	tables := map[string]struct {
		content []byte
		why     string
	}{
		"nothing":                         {nil, "neither qcow2 nor a raw disk"},
		"text":                            {[]byte(strings.Repeat("no disk\n", 1000)), "neither qcow2 nor a raw disk"},
		"a header and nothing else":       {file()[:80], "truncated"},
		"a raw disk cut in a sector":      {raw()[:1<<20-7], "no number of sectors"},
		"a gzip of one":                   {append([]byte("\x1f\x8b\x08"), raw()...), "packed with gzip"},
		"an xz of one":                    {append([]byte("\xfd7zXZ\x00"), raw()...), "packed with xz"},
		"a backing file":                  {changed(func(f []byte) { long(f[8:], 1024); f[19] = 9 }), "backing file"},
		"a backing file of length 0":      {changed(func(f []byte) { long(f[8:], 1024) }), "backing file"},
		"data in another file":            {changed(func(f []byte) { f[79] = featureExternal }), "another file"},
		"encryption":                      {changed(func(f []byte) { f[35] = 2 }), "encrypted"},
		"snapshots":                       {changed(func(f []byte) { f[63] = 1 }), "snapshots"},
		"a version that is not known":     {changed(func(f []byte) { f[7] = 9 }), "version 9"},
		"a feature that is not known":     {changed(func(f []byte) { f[74] = 1 }), "not known"},
		"a mark of damage":                {changed(func(f []byte) { f[79] = featureCorrupt }), "damaged"},
		"a mark that it was not closed":   {changed(func(f []byte) { f[79] = featureDirty }), "not closed"},
		"clusters of a byte":              {changed(func(f []byte) { f[23] = 0 }), "clusters"},
		"clusters larger than all":        {changed(func(f []byte) { f[23] = 63 }), "clusters"},
		"a disk of 2^63 bytes":            {changed(func(f []byte) { long(f[24:], 1<<63) }), "64 TiB"},
		"a disk of no bytes":              {changed(func(f []byte) { long(f[24:], 0) }), "0 bytes"},
		"a first table that is too small": {changed(func(f []byte) { long(f[24:], 1<<40) }), "are needed"},
		"a first table of 2^32 entries":   {changed(func(f []byte) { copy(f[36:], "\xff\xff\xff\xff") }), "are needed"},
		"a first table behind its end":    {changed(func(f []byte) { long(f[40:], 1<<40) }), "truncated"},
		"a first table that is nowhere":   {changed(func(f []byte) { long(f[40:], 0) }), "where they can be"},
		"a second table behind its end":   {changed(func(f []byte) { long(f[3<<16:], 1<<30|1<<63) }), "truncated"},
		"one second table for everything": {changed(func(f []byte) {
			long(f[24:], 32<<30)
			f[38], f[39] = 0x02, 0x00
			for at := 3 << 16; at < 3<<16+8*512; at += 8 {
				long(f[at:], 4<<16|1<<63)
			}
		}), "over each other"},
		"data behind its end":                   {changed(func(f []byte) { long(f[4<<16:], 1<<30|1<<63) }), "truncated"},
		"compressed data behind its end":        {changed(func(f []byte) { long(f[4<<16:], 1<<62|1<<30) }), "truncated"},
		"a file that was cut after its headers": {file()[:4<<16], "truncated"},
	}
	for name, test := range tables {
		_, _, err := Inspect(bytes.NewReader(test.content), int64(len(test.content)))
		if err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s gave %v, want something with %q", name, err, test.why)
		}
	}
	if _, _, err := Inspect(bytes.NewReader([]byte("PK\x03\x04")), 4); !errors.Is(err, ErrPacked) {
		t.Errorf("a zip gave %v", err)
	}
}

func TestATarIsNoDisk(t *testing.T) {
	tar := raw()
	copy(tar[tarMark:], "ustar")
	if IsDisk(tar) {
		t.Error("a tar whose first file has the boot mark is taken for a disk")
	}
}

const goodManifest = `{"mediaType":"` + MediaType + `","format":"qcow2","diskBytes":1024,"layers":[{"digest":"sha256:` +
	`0000000000000000000000000000000000000000000000000000000000000000","size":1024}]}`

func TestManifests(t *testing.T) {
	if m, err := ParseManifest([]byte(goodManifest)); err != nil || m.File().Size != 1024 {
		t.Errorf("a good one gave %v, %v", m, err)
	}
	for name, bad := range map[string]string{
		"nothing":            "",
		"another kind":       strings.Replace(goodManifest, "disk.v1", "disk.v2", 1),
		"another format":     strings.Replace(goodManifest, "qcow2", "vmdk", 1),
		"an unknown field":   strings.Replace(goodManifest, `"format"`, `"backing":"x","format"`, 1),
		"no digest":          strings.Replace(goodManifest, "sha256:", "md5:", 1),
		"a way out":          strings.Replace(goodManifest, "sha256:0", "sha256:../../etc/passwd", 1),
		"a negative size":    strings.Replace(goodManifest, `"size":1024`, `"size":-1`, 1),
		"no layers":          `{"mediaType":"` + MediaType + `","format":"raw","diskBytes":1024}`,
		"something after it": goodManifest + "{}",
		"far too much":       goodManifest + strings.Repeat(" ", MaxManifest),
	} {
		if m, err := ParseManifest([]byte(bad)); err == nil {
			t.Errorf("%s was taken as %v", name, m)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(file())
	f.Add(raw()[:4096])
	f.Add(file()[:104])
	f.Fuzz(func(t *testing.T, content []byte) {
		format, diskBytes, err := Inspect(bytes.NewReader(content), int64(len(content)))
		if err == nil && (format != QCOW2 && format != Raw || diskBytes < sectorBytes || diskBytes > MaxDiskBytes) {
			t.Errorf("it was taken as %s of %d bytes", format, diskBytes)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(goodManifest))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := ParseManifest(text); err == nil && !digestPattern.MatchString(m.File().Digest) {
			t.Errorf("it was taken as %+v", m)
		}
	})
}
