package sim

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// disk keeps small files for one host. A write is durable when it returns, as
// env.FS demands; it survives crashes of the process and of the host.
type disk struct {
	files map[string][]byte
	// before is what files held before they were last written, for undo.
	before map[string][]byte
}

func newDisk() *disk { return &disk{files: map[string][]byte{}, before: map[string][]byte{}} }

// undo takes the last write of each file back.
func (d *disk) undo() {
	for name, data := range d.before {
		d.files[name] = slices.Clone(data)
	}
}

func (d *disk) ReadFile(name string) ([]byte, error) {
	data, ok := d.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return slices.Clone(data), nil
}

func (d *disk) WriteFile(name string, data []byte, _ os.FileMode) error {
	room := d.before[name] // nobody else has it, and it is forgotten now
	if old, ok := d.files[name]; ok {
		d.before[name] = old
	} else {
		room = nil
	}
	d.files[name] = append(room[:0], data...)
	return nil
}

func (d *disk) Remove(name string) error {
	delete(d.files, name)
	return nil
}

func (d *disk) ReadDir(name string) ([]string, error) {
	var names []string
	for file := range d.files {
		if filepath.Dir(file) == filepath.Clean(name) {
			names = append(names, filepath.Base(file))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d *disk) MkdirAll(string, os.FileMode) error { return nil }

func (d *disk) Rename(from, to string) error {
	moved := map[string][]byte{}
	for name, data := range d.files {
		if name == from {
			moved[to] = data
		} else if rest, ok := strings.CutPrefix(name, from+"/"); ok {
			moved[to+"/"+rest] = data
		} else {
			moved[name] = data
		}
	}
	d.files = moved
	return nil
}
