// Package snapshot keeps copies of disks as they were at one moment, beside the
// disks themselves. A copy hangs on nothing: it is no link of a chain, and whatever
// becomes of it the disks are as they are.
//
// A snapshot is a directory that appears and vanishes whole. The package does not
// know what writes to the disks meanwhile: whoever calls it sees to that.
package snapshot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// Max of one keeper: each is as large as its disks.
	Max = 16
	// aboutFile tells what a snapshot is, and is written last.
	aboutFile = "snapshot.json"
	// partial marks a directory that is being made or removed.
	partial  = ".part"
	passable = 0o711
)

var namePattern = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,46}[a-z0-9])?$`)

// Disk is one of those that a snapshot is of.
type Disk struct {
	Name string `json:"name"`
	// File of it; in a snapshot without its directory.
	File   string `json:"file"`
	Format string `json:"format"`
}

// Snapshot of disks that belong together.
type Snapshot struct {
	Name    string    `json:"-"`
	Created time.Time `json:"created"`
	// Quiet: the guest had written all it had to its file systems.
	Quiet bool   `json:"quiet,omitempty"`
	Disks []Disk `json:"disks"`
	// Used bytes on the node's disk.
	Used int64 `json:"-"`
}

// Keeper keeps the snapshots of one set of disks in a directory.
type Keeper struct {
	Dir string
	FS  env.FS
}

// CheckName refuses what cannot be the name of a snapshot.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return problem.New(problem.Invalid, "Snapshot/"+name[:min(len(name), 48)], "a snapshot's name has 1 to 48 characters, a-z, 0-9 and -, starting with a letter").WithField("snapshot")
	}
	return nil
}

// List those that are whole, oldest first.
func (k Keeper) List() ([]Snapshot, error) {
	entries, err := os.ReadDir(k.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Snapshot
	for _, entry := range entries {
		if s, err := k.Get(entry.Name()); err == nil {
			all = append(all, *s)
		}
	}
	slices.SortFunc(all, func(a, b Snapshot) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	return all, nil
}

// Get one by its name.
func (k Keeper) Get(name string) (*Snapshot, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	text, err := k.FS.ReadFile(filepath.Join(k.Dir, name, aboutFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, problem.New(problem.NotFound, "Snapshot/"+name, "there is no such snapshot")
	}
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Name: name}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, problem.New(problem.Internal, "Snapshot/"+name, "%s cannot be read: %w", filepath.Join(k.Dir, name, aboutFile), err)
	}
	for i, disk := range s.Disks {
		s.Disks[i].File = filepath.Join(k.Dir, name, filepath.Base(disk.File))
		s.Used += Used(s.Disks[i].File)
	}
	return s, nil
}

// Create a snapshot: fill puts the copies into a directory and tells what they are.
// When it fails, nothing is left.
func (k Keeper) Create(name string, fill func(dir string) (Snapshot, error)) error {
	if err := k.room(name); err != nil {
		return err
	}
	fresh := filepath.Join(k.Dir, name+partial)
	if err := errors.Join(k.Sweep(), os.MkdirAll(fresh, passable)); err != nil {
		return err
	}
	made, err := fill(fresh)
	if err == nil {
		err = k.keep(name, fresh, made)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	return nil
}

// room for one more.
func (k Keeper) room(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	all, err := k.List()
	switch {
	case err != nil:
		return err
	case slices.ContainsFunc(all, func(s Snapshot) bool { return s.Name == name }):
		return problem.New(problem.Conflict, "Snapshot/"+name, "there is a snapshot of that name").WithHint("choose another name, or delete that one first")
	case len(all) >= Max:
		return problem.New(problem.Exhausted, "Snapshot/"+name, "there are %d snapshots already", len(all)).WithHint("each takes as much room as its disks: delete one first")
	}
	return nil
}

func (k Keeper) keep(name, fresh string, made Snapshot) error {
	for i, disk := range made.Disks {
		if err := syncFile(disk.File); err != nil {
			return err
		}
		made.Disks[i].File = filepath.Base(disk.File)
	}
	text, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if err := k.FS.WriteFile(filepath.Join(fresh, aboutFile), text, 0o600); err != nil {
		return err
	}
	return k.FS.Rename(fresh, filepath.Join(k.Dir, name))
}

// Delete a snapshot; nothing happens when there is none.
func (k Keeper) Delete(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	whole := filepath.Join(k.Dir, name)
	if _, err := os.Lstat(whole); err == nil {
		if err := k.FS.Rename(whole, whole+partial); err != nil {
			return err
		}
	}
	return os.RemoveAll(whole + partial)
}

// Sweep removes what a crash left half made, or half removed.
func (k Keeper) Sweep() error {
	entries, err := os.ReadDir(k.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), partial) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(k.Dir, entry.Name())))
		}
	}
	return err
}

// Used bytes of the disk by a file; 0 when there is none.
func Used(file string) int64 {
	var stat unix.Stat_t
	if unix.Stat(file, &stat) != nil {
		return 0
	}
	const block = 512 // as st_blocks counts
	return stat.Blocks * block
}

func syncFile(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Progress is told how many bytes are done, of how many.
type Progress func(done, total int64)

// CopyDisks copies disks that nothing writes to into a directory.
func CopyDisks(ctx context.Context, disks []Disk, dir string, progress Progress) ([]Disk, error) {
	var total, before int64
	for _, disk := range disks {
		total += Used(disk.File)
	}
	var copies []Disk
	for _, disk := range disks {
		to := filepath.Join(dir, disk.Name+"."+disk.Format)
		if err := Copy(ctx, disk.File, to, func(done, _ int64) { progress(before+done, total) }); err != nil {
			return nil, err
		}
		before += Used(to)
		copies = append(copies, Disk{disk.Name, to, disk.Format})
	}
	return copies, nil
}
