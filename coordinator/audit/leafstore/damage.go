package leafstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"skerry.dev/coordinator/consensus/pebblelog"
	"skerry.dev/shared/problem"
)

// ErrDamaged says that leaves on this disk cannot be read. The replicated log is not:
// it stays as it is, and the next Open sets the leaves aside and begins anew.
var ErrDamaged = errors.New("the audit log's leaves on this disk are damaged")

const (
	// condemnedFile, among the leaves, says that they are to be set aside.
	condemnedFile = "damaged"
	// maxAside stores are set aside beside each other. Nobody deletes them but people.
	maxAside = 99
)

// Open opens the store in dir, or begins an empty one. One that is damaged is set
// aside, which Aside tells. fatal is told why the engine cannot go on, before the
// process ends.
func Open(fs vfs.FS, dir string, logger *slog.Logger, fatal func(why string)) (*Store, error) {
	s, damage := openStore(fs, dir, logger, fatal)
	if !errors.Is(damage, ErrDamaged) {
		return s, damage
	}
	aside, err := setAside(fs, dir)
	if err != nil {
		return nil, problem.New(problem.Internal, dir, "the audit log's leaves are damaged, and cannot be set aside: %w", errors.Join(err, damage)).
			WithHint("move the directory away: the leaves come back from the other voters")
	}
	if s, err = openStore(fs, dir, logger, fatal); err != nil {
		return nil, err
	}
	s.aside = aside
	logger.Error("the audit log's leaves on this disk are damaged: they are set aside, and come back from the other voters if there are any",
		"directory", dir, "aside", aside, "error", damage)
	return s, nil
}

// Check tells what keeps Open from opening the store in dir as it is: an error that is
// ErrDamaged, if the leaves would be set aside. They are not.
func Check(fs vfs.FS, dir string, logger *slog.Logger) error {
	s, err := openStore(fs, dir, logger, func(string) {})
	if err != nil {
		return err
	}
	return s.Close()
}

// setAside moves the store away and tells where it is.
func setAside(fs vfs.FS, dir string) (aside string, err error) {
	for n := 1; n <= maxAside; n++ {
		aside = fmt.Sprintf("%s-damaged-%d", dir, n)
		if _, err := fs.Stat(aside); err == nil {
			continue
		}
		if err := fs.Rename(dir, aside); err != nil {
			return "", err
		}
		parent, err := fs.OpenDir(fs.PathDir(dir))
		if err != nil {
			return "", err
		}
		return aside, errors.Join(parent.Sync(), parent.Close())
	}
	return "", fmt.Errorf("%d damaged ones are there already", maxAside)
}

// Aside is where damaged leaves were set aside when the store was opened; empty when
// they were not.
func (s *Store) Aside() string { return s.aside }

// Watch returns when the engine has come upon damage by itself, or ctx ends.
func (s *Store) Watch(ctx context.Context) error {
	select {
	case info := <-s.found:
		return fmt.Errorf("%w: %s: %w", ErrDamaged, info.Path, info.Details)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Condemn leaves word for the next Open that these leaves are to be set aside.
func (s *Store) Condemn() error {
	file, err := s.fs.Create(s.fs.PathJoin(s.dir, condemnedFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func isCondemned(fs vfs.FS, dir string) bool {
	_, err := fs.Stat(fs.PathJoin(dir, condemnedFile))
	return err == nil
}

// listener replaces Pebble's own, which would end the process, and the log with it.
func (s *Store) listener() *pebble.EventListener {
	return &pebble.EventListener{DataCorruption: func(info pebble.DataCorruptionInfo) {
		select {
		case s.found <- info:
		default: // the first one is enough
		}
	}}
}

// judged marks damage as such.
func judged(err error) error {
	if err != nil && pebblelog.IsDamage(err) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}
