package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"skerry.dev/agent/runtime/snapshot"
	"skerry.dev/shared/problem"
)

// RemoveImage removes an image under all its names. Its disk goes first: without
// it the image is not here.
func (d *Driver) RemoveImage(_ context.Context, digest string) error {
	m, err := d.disks.manifest(digest)
	if problem.KindOf(err) == problem.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	disk := d.disks.blob(m.File().Digest)
	user, err := d.overlayOf(disk)
	if err != nil {
		return d.problem("Image/"+digest, "who uses it cannot be found out", err)
	}
	if user != "" {
		return problem.New(problem.Conflict, "Image/"+digest, "the root disk of %s is a copy-on-write copy of it", user)
	}
	names, shared, err := d.disks.namesOf(digest, m.File().Digest)
	if err != nil {
		return d.problem("Image/"+digest, "its names cannot be read", err)
	}
	files := append([]string{d.disks.blob(digest)}, names...)
	if !shared {
		files = append([]string{disk}, files...)
	}
	for _, file := range files {
		if err := d.Env.FS.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return d.problem("Image/"+digest, "it cannot be removed", err)
		}
	}
	return nil
}

// overlayOf names an instance whose root disk is a copy-on-write copy of a file;
// empty when there is none.
func (d *Driver) overlayOf(file string) (string, error) {
	ids, err := d.Env.FS.ReadDir(d.disksDir())
	if err != nil {
		return "", err
	}
	for _, id := range ids {
		backing, err := backingFile(filepath.Join(d.diskDir(id), rootFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if filepath.Base(backing) == filepath.Base(file) { // its digest
			return id, nil
		}
	}
	return "", nil
}

// backingFile of an overlay that was made here; empty when it has none.
func backingFile(overlay string) (string, error) {
	f, err := os.Open(overlay)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // opened for reading only
	var header [20]byte
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return "", err
	}
	const longest = 1023 // by the format
	at, length := binary.BigEndian.Uint64(header[8:]), binary.BigEndian.Uint32(header[16:])
	if at == 0 || length == 0 || length > longest {
		return "", nil
	}
	name := make([]byte, length)
	_, err = f.ReadAt(name, int64(at))
	return string(name), err
}

// namesOf are the files that name an image. shared: another image that is named has
// the same disk.
func (d *disks) namesOf(digest, disk string) (files []string, shared bool, err error) {
	names, err := d.named()
	if err != nil {
		return nil, false, err
	}
	for _, n := range names {
		if n.Digest == digest {
			files = append(files, d.nameFile(n))
		} else if m, err := d.manifest(n.Digest); err == nil && m.File().Digest == disk {
			shared = true
		}
	}
	return files, shared, nil
}

// RootDisks of instances, and the bytes that they take, their images apart.
func (d *Driver) RootDisks() (count uint32, bytes int64) {
	ids, err := d.Env.FS.ReadDir(d.disksDir())
	if err != nil {
		return 0, 0 // told by what needs them
	}
	for _, id := range ids {
		if used := snapshot.Used(filepath.Join(d.diskDir(id), rootFile)); used > 0 {
			count++
			bytes += used
		}
	}
	return count, bytes
}
