package hosts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// removeCgroups removes a cgroup that nothing runs in any more, with those
// below it, from every hierarchy (cgroups version 1) or the one (version 2).
func removeCgroups(name string) error {
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + name, "/sys/fs/cgroup/*/" + name} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		found = append(found, matches...)
	}
	var failures error
	for _, root := range found {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		failures = errors.Join(failures, err)
		for _, dir := range slices.Backward(dirs) {
			if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failures = errors.Join(failures, err)
			}
		}
	}
	return failures
}
