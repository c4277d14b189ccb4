package counts

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// maxFile bounds what is read back, in bytes; what may wait is less.
const maxFile = 4 << 20

// disk is where counts wait across restarts: one file, written whole.
type disk struct {
	files env.FS
	path  string
	// changed since the last Save; there tells whether there is a file.
	changed, there bool
}

// Open takes over what an earlier process saved in a file, and saves to it from
// then on. A file that is damaged is kept beside under another name, and damaged
// says which.
func (r *Counts) Open(files env.FS, path string) (damaged string, err error) {
	r.disk = disk{files: files, path: path}
	data, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", problem.New(problem.Internal, path, "what was counted cannot be read: %w", err)
	}
	r.disk.there = true
	kept, whole := decode(data)
	if !whole {
		damaged = path + ".damaged"
		if err := files.WriteFile(damaged, data, 0o600); err != nil {
			return "", problem.New(problem.Internal, damaged, "the damaged file cannot be kept: %w", err)
		}
	}
	for _, one := range kept.GetCounts() {
		r.Return(one)
	}
	return damaged, nil
}

func decode(data []byte) (*sitev1.KeptCounts, bool) {
	kept := &sitev1.KeptCounts{}
	if len(data) < sha256.Size || len(data) > maxFile {
		return kept, false
	}
	sum := sha256.Sum256(data[sha256.Size:])
	if !bytes.Equal(sum[:], data[:sha256.Size]) || proto.Unmarshal(data[sha256.Size:], kept) != nil {
		return &sitev1.KeptCounts{}, false
	}
	return kept, true
}

// Save makes what waits durable, if it has changed. What was taken meanwhile is
// not on disk any more: a crash between the two makes it count twice, not never.
func (r *Counts) Save() error {
	// Of two at once the one that saw less might write last.
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	kept, changed := &sitev1.KeptCounts{}, r.disk.changed
	for _, one := range r.sorted() {
		kept.Counts = append(kept.Counts, proto.CloneOf(one))
	}
	r.disk.changed = false
	r.mu.Unlock()
	if !changed || r.disk.files == nil {
		return nil
	}
	err := r.disk.write(kept)
	if err != nil {
		r.mu.Lock()
		r.disk.changed = true
		r.mu.Unlock()
		return problem.New(problem.Internal, r.disk.path, "what must get into the audit log cannot be kept: %w", err).WithHint("is the disk full?")
	}
	return nil
}

// write replaces the file whole, or removes it. It has one caller at a time.
func (d *disk) write(kept *sitev1.KeptCounts) error {
	if len(kept.GetCounts()) == 0 {
		if !d.there {
			return nil
		}
		d.there = false
		return d.files.Remove(d.path)
	}
	encoded, err := proto.Marshal(kept)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(encoded)
	d.there = true
	return d.files.WriteFile(d.path, append(sum[:], encoded...), 0o600)
}
