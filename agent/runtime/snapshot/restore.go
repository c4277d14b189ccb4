package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"skerry.dev/shared/problem"
)

const (
	// restoredMark ends the name of a disk that will take the place of another.
	restoredMark = ".restored"
	// journalFile names the disks of which all are copied: from then on the
	// restore is brought to its end, whatever happens.
	journalFile = "restore.json"
)

// Restore puts the disks back as they were. Nothing may use them. A crash before
// all are copied changes nothing; after one, Finish goes on.
func (k Keeper) Restore(ctx context.Context, name string, disks []Disk, progress Progress) error {
	s, err := k.Get(name)
	if err != nil {
		return err
	}
	if err := sameDisks(s, disks); err != nil {
		return err
	}
	if err := k.Finish(disks); err != nil {
		return err
	}
	if err := copyBack(ctx, s, disks, progress); err != nil {
		return errors.Join(err, k.Finish(disks))
	}
	var files []string
	for _, disk := range disks {
		files = append(files, disk.File)
	}
	text, err := json.Marshal(files)
	if err != nil {
		return err
	}
	if err := k.FS.WriteFile(filepath.Join(k.Dir, journalFile), text, 0o600); err != nil {
		return errors.Join(err, k.Finish(disks))
	}
	return k.Finish(disks)
}

func copyBack(ctx context.Context, s *Snapshot, disks []Disk, progress Progress) error {
	var before int64
	for _, disk := range disks {
		from := s.Disks[slices.IndexFunc(s.Disks, func(d Disk) bool { return d.Name == disk.Name })].File
		if err := Copy(ctx, from, disk.File+restoredMark, func(done, _ int64) { progress(before+done, s.Used) }); err != nil {
			return err
		}
		before += Used(from)
	}
	return nil
}

// Finish brings a restore to its end that a crash broke, or forgets it.
func (k Keeper) Finish(disks []Disk) error {
	journal := filepath.Join(k.Dir, journalFile)
	text, err := k.FS.ReadFile(journal)
	if errors.Is(err, fs.ErrNotExist) {
		var all error
		for _, disk := range disks {
			all = errors.Join(all, os.RemoveAll(disk.File+restoredMark))
		}
		return all
	}
	if err != nil {
		return err
	}
	var files []string
	if err := json.Unmarshal(text, &files); err != nil {
		return problem.New(problem.Internal, journal, "it cannot be read: %w", err)
	}
	for _, file := range files {
		if _, err := os.Lstat(file + restoredMark); errors.Is(err, fs.ErrNotExist) {
			continue // done before the crash
		}
		if err := k.FS.Rename(file+restoredMark, file); err != nil {
			return err
		}
	}
	return k.FS.Remove(journal)
}

// sameDisks refuses to put back some disks and not others: they were one state.
func sameDisks(s *Snapshot, disks []Disk) error {
	names := func(disks []Disk) []string {
		var all []string
		for _, disk := range disks {
			all = append(all, disk.Name)
		}
		slices.Sort(all)
		return all
	}
	if was, is := names(s.Disks), names(disks); !slices.Equal(was, is) {
		return problem.New(problem.Conflict, "Snapshot/"+s.Name, "it is of the disks %v, and now there are %v", was, is).
			WithHint("attach and detach disks until they are the same ones")
	}
	for _, disk := range disks {
		if was := s.Disks[slices.IndexFunc(s.Disks, func(d Disk) bool { return d.Name == disk.Name })]; was.Format != disk.Format {
			return problem.New(problem.Conflict, "Snapshot/"+s.Name, "disk %s was of the format %s and is of %s", disk.Name, was.Format, disk.Format)
		}
	}
	return nil
}
