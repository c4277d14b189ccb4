package directory

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"skerry.dev/shared/env"
)

const (
	// measureEvery is the pause between two looks at what volumes take; it grows
	// with what a look costs.
	measureEvery = time.Minute
	measureShare = 20
	// block is how st_blocks counts.
	block = 512
	// maxLinked files with several names are remembered while one volume is
	// measured.
	maxLinked = 1 << 18
)

// Run measures the volumes now and then, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	for {
		began := s.Clock.Elapsed()
		s.Measure(ctx)
		if err := env.Sleep(ctx, s.Clock, max(measureEvery, measureShare*(s.Clock.Elapsed()-began))); err != nil {
			return err
		}
	}
}

// Measure finds out what all volumes take, and ends what a crash left half
// deleted. What cannot be read counts as nothing.
func (s *Store) Measure(ctx context.Context) {
	entries, _ := os.ReadDir(s.Dir) // Held tells what is wrong with it
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), goneMark) {
			_ = os.RemoveAll(filepath.Join(s.Dir, entry.Name())) // the next look tries again
			continue
		}
		used, err := usedBy(ctx, filepath.Join(s.Dir, entry.Name(), dataDir))
		if err != nil {
			continue
		}
		s.mu.Lock()
		if s.used == nil {
			s.used = map[string]int64{}
		}
		s.used[entry.Name()] = used
		s.mu.Unlock()
	}
}

// usedBy a directory and what is below it, in bytes of the disk. Who writes there
// is not trusted: nothing outside is looked at, whatever becomes a link meanwhile.
func usedBy(ctx context.Context, path string) (int64, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }() // opened for reading only
	var used int64
	linked := map[uint64]bool{}
	err = fs.WalkDir(root.FS(), ".", func(_ string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || entry == nil {
			return nil // it has vanished meanwhile
		}
		info, err := entry.Info()
		if err != nil {
			return nil
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || linked[stat.Ino] {
			return nil
		}
		if stat.Nlink > 1 && !info.IsDir() && len(linked) < maxLinked {
			linked[stat.Ino] = true
		}
		used += stat.Blocks * block
		return nil
	})
	return used, err
}
