// Package diskimage knows what an image of a disk may be. It reads what comes from
// outside, so it is strict: what it does not understand is refused. It does
// nothing but look.
package diskimage

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// Formats of images.
const (
	QCOW2 = "qcow2"
	Raw   = "raw"
)

const (
	// MaxDiskBytes of the disk that an image is of, MaxBytes of the image.
	MaxDiskBytes = 64 << 40
	MaxBytes     = 16 << 40
	// HeaderBytes tell what a file is.
	HeaderBytes = 4096
	sectorBytes = 512
	bootMark    = 510
	tarMark     = 257
)

// ErrPacked is a file that must be unpacked first.
var ErrPacked = errors.New("it is packed")

// Inspect tells the format of an image of so many bytes, and the size of its disk;
// or why it is not taken.
func Inspect(file io.ReaderAt, size int64) (format string, diskBytes int64, err error) {
	header := make([]byte, HeaderBytes)
	n, err := file.ReadAt(header, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, err
	}
	header = header[:n]
	if name := packed(header); name != "" {
		return "", 0, fmt.Errorf("%w with %s", ErrPacked, name)
	}
	if bytes.HasPrefix(header, []byte(qcow2Magic)) {
		q, err := parseQCOW2(header, size)
		if err == nil {
			err = q.within(file, size)
		}
		if err != nil {
			return "", 0, err
		}
		return QCOW2, int64(q.size), nil
	}
	if !IsDisk(header) {
		return "", 0, errors.New("it is neither qcow2 nor a raw disk with a partition table; was it copied whole? Other formats: qemu-img convert -O qcow2")
	}
	if size%sectorBytes != 0 || size > MaxDiskBytes {
		return "", 0, fmt.Errorf("a raw disk of %d bytes is no number of sectors; was it copied whole?", size)
	}
	return Raw, size, nil
}

// packed names what a file is packed with; empty when it is not.
func packed(header []byte) string {
	for _, known := range []struct{ magic, name string }{
		{"\x1f\x8b", "gzip"}, {"\xfd7zXZ\x00", "xz"}, {"BZh", "bzip2"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"PK\x03\x04", "zip"},
	} {
		if bytes.HasPrefix(header, []byte(known.magic)) {
			return known.name
		}
	}
	return ""
}

// IsDisk tells by its beginning whether a file is the image of a disk, and not
// that of a container.
func IsDisk(header []byte) bool {
	if bytes.HasPrefix(header, []byte(qcow2Magic)) {
		return true
	}
	isTar := len(header) >= tarMark+5 && string(header[tarMark:tarMark+5]) == "ustar"
	return !isTar && len(header) >= bootMark+2 && header[bootMark] == 0x55 && header[bootMark+1] == 0xaa
}

const (
	// MediaType of the manifest of a disk image.
	MediaType = "application/vnd.skerry.disk.v1+json"
	// MaxManifest is more than any of them has.
	MaxManifest = 4 << 10
)

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Manifest is what the digest of an image is of. It names its one part as manifests
// of containers name theirs.
type Manifest struct {
	MediaType string `json:"mediaType"`
	Format    string `json:"format"`
	// DiskBytes of the disk.
	DiskBytes int64   `json:"diskBytes"`
	Layers    []Layer `json:"layers"`
}

// Layer is the file of an image.
type Layer struct {
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// File of the image.
func (m *Manifest) File() Layer { return m.Layers[0] }

var errNoManifest = errors.New("it is not the manifest of a disk image")

// ParseManifest reads one; an error when it is none.
func ParseManifest(text []byte) (*Manifest, error) {
	m := &Manifest{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if len(text) > MaxManifest || decoder.Decode(m) != nil || decoder.More() {
		return nil, errNoManifest
	}
	known := m.Format == QCOW2 || m.Format == Raw
	if m.MediaType != MediaType || !known || len(m.Layers) != 1 || !digestPattern.MatchString(m.File().Digest) ||
		m.File().Size < sectorBytes || m.File().Size > MaxBytes || m.DiskBytes < sectorBytes || m.DiskBytes > MaxDiskBytes {
		return nil, errNoManifest
	}
	return m, nil
}
