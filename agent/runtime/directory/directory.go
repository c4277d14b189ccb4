// Package directory keeps volumes that are directories of the node: what
// containers mount.
package directory

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// dataDir of a volume is what is mounted; it is there wholly or not at all.
	dataDir = "data"
	// goneMark begins the name of what is being deleted.
	goneMark = ".gone-"
)

// Store keeps them below one directory. It is safe for concurrent use on different
// volumes.
type Store struct {
	Dir   string
	Clock env.Clock
	FS    env.FS

	mu sync.Mutex
	// used bytes, by the name of the directory, as last measured.
	used map[string]int64
}

func nameOf(project, name string) string { return project + "." + name }

// Path of what a container mounts.
func (s *Store) Path(project, name string) string {
	return filepath.Join(s.Dir, nameOf(project, name), dataDir)
}

// Ensure makes a volume that was never made, for a user of the container. One whose
// data is gone is an error, and nothing empty takes its place.
func (s *Store) Ensure(project, name string, v runtime.Volume, uid, gid int) error {
	about, path := "Volume/"+name, s.Path(project, name)
	if runtime.CheckID(nameOf(project, name)) != nil {
		return problem.New(problem.Invalid, about, "it cannot be the name of a volume")
	}
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return problem.New(problem.Conflict, about, "%s is not a directory", path)
	case !errors.Is(err, fs.ErrNotExist):
		return problem.New(problem.Internal, about, "it cannot be read: %w", err)
	case v.Made:
		return problem.New(problem.Conflict, about, "its data is not on this node any more: %s is missing", path).
			WithHint("bring the directory back; or delete the volume with its data, and begin anew: skerry delete volume %s --with-data", name)
	}
	if err := s.makeOwned(path, uid, gid); err != nil {
		return problem.New(problem.Internal, about, "it cannot be made: %w", err)
	}
	return nil
}

// makeOwned makes a directory that a user may write to, so that it is still there
// after a power cut.
func (s *Store) makeOwned(path string, uid, gid int) error {
	fresh := path + ".new"
	if err := s.FS.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := errors.Join(os.Chown(fresh, uid, gid), os.Chmod(fresh, 0o755)); err != nil { // whatever the agent's umask
		return err
	}
	return s.FS.Rename(fresh, path)
}

// Held are those with data here, sorted by project and name.
func (s *Store) Held() ([]runtime.HeldVolume, error) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return nil, problem.New(problem.Internal, s.Dir, "the volumes cannot be listed: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []runtime.HeldVolume
	for _, entry := range entries {
		project, name, ok := strings.Cut(entry.Name(), ".")
		if info, err := os.Lstat(s.Path(project, name)); ok && project != "" && err == nil && info.IsDir() {
			all = append(all, runtime.HeldVolume{Project: project, Name: name, Used: s.used[entry.Name()], Directory: true})
		}
	}
	slices.SortFunc(all, runtime.CompareVolumes)
	return all, nil
}

// Delete a volume that nothing uses. Nothing happens when there is none.
func (s *Store) Delete(project, name string) error {
	about, dir := "Volume/"+name, filepath.Dir(s.Path(project, name))
	if runtime.CheckID(nameOf(project, name)) != nil {
		return problem.New(problem.Invalid, about, "it cannot be the name of a volume")
	}
	gone := filepath.Join(s.Dir, goneMark+nameOf(project, name))
	if err := os.RemoveAll(gone); err != nil {
		return problem.New(problem.Internal, about, "it cannot be deleted: %w", err)
	}
	// From one moment to the next: half a volume is worse than none.
	if err := s.FS.Rename(dir, gone); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return problem.New(problem.Internal, about, "it cannot be deleted: %w", err)
	}
	s.mu.Lock()
	delete(s.used, nameOf(project, name))
	s.mu.Unlock()
	if err := os.RemoveAll(gone); err != nil {
		return problem.New(problem.Internal, about, "it is not wholly deleted yet: %w", err)
	}
	return nil
}
