package coordinator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// backupSuffix ends the name of a backup, backupStamp is the time in it.
	backupSuffix = ".skerry-backup"
	backupStamp  = "20060102T150405Z"
	// folderTime bounds the wait for a folder: a mount may hang for ever. folderTurn
	// bounds the wait for what was begun there before.
	folderTime = time.Minute
	folderTurn = 5 * time.Second
	// maxDeleted backups are deleted at once.
	maxDeleted = 100
)

// within does something in the folder. What hangs there is not waited for when
// its time is over; nothing else is begun there until it has ended.
func (b *backups) within(ctx context.Context, folder string, do func() error) error {
	if !b.turn(ctx) {
		return folderProblem(folder, errors.New("something that was begun there has not ended yet"))
	}
	ctx, cancel := context.WithTimeout(ctx, folderTime)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := do() // the kernel ends it when the mount answers again
		<-b.folder
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return folderProblem(folder, errors.New("it does not answer"))
	}
}

// turn waits, not long, until nothing else is done in the folder: a list that
// somebody asks for is no reason to go without a backup.
func (b *backups) turn(ctx context.Context) bool {
	select {
	case b.folder <- struct{}{}:
		return true
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, folderTurn)
	defer cancel()
	select {
	case b.folder <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// folderProblem names the folder and not the file, whose name is another one at
// each attempt: what has failed before for the same reason reads the same.
func folderProblem(folder string, err error) error {
	return problem.New(problem.Unavailable, folder, "%w", reason(err)).
		WithHint("is it mounted, with room in it, and may root write there? the site goes on; backups are tried again by themselves")
}

// reason is what the system says of a file, without its name.
func reason(err error) error {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return err
}

// Keep implements api.Backups.
func (b *backups) Keep(ctx context.Context, settings manifest.Backups) (*skerryv1.Backup, error) {
	data, made, err := b.Make(ctx)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%s-%d%s", b.v.Site, made.GetTime().AsTime().UTC().Format(backupStamp), made.GetIndex(), backupSuffix)
	made.Name = filepath.Join(settings.Folder, name)
	return made, b.write(ctx, settings, made.GetName(), data)
}

// write a backup into the folder, and delete those that are too many.
func (b *backups) write(ctx context.Context, settings manifest.Backups, name string, data []byte) error {
	return b.within(ctx, settings.Folder, func() error {
		if err := b.v.Env.FS.WriteFile(name, data, 0o600); err != nil {
			return folderProblem(settings.Folder, err)
		}
		return b.retain(settings)
	})
}

// retain deletes what is more than the site is to keep, and what a crash left.
func (b *backups) retain(settings manifest.Backups) error {
	names, err := b.v.Env.FS.ReadDir(settings.Folder)
	if err != nil {
		return folderProblem(settings.Folder, err)
	}
	all := b.known(settings.Folder, names)
	for _, old := range first(all[min(settings.Keep, len(all)):], maxDeleted) {
		if err := b.v.Env.FS.Remove(old.GetName()); err != nil {
			return folderProblem(settings.Folder, fmt.Errorf("an old backup cannot be deleted: %v", reason(err)))
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "."+b.v.Site+"-") && strings.HasSuffix(name, ".tmp") && strings.Contains(name, backupSuffix) {
			if err := b.v.Env.FS.Remove(filepath.Join(settings.Folder, name)); err != nil {
				return folderProblem(settings.Folder, err)
			}
		}
	}
	return nil
}

// List implements api.Backups.
func (b *backups) List(ctx context.Context, folder string) (all []*skerryv1.Backup, err error) {
	found := make(chan []*skerryv1.Backup, 1)
	err = b.within(ctx, folder, func() error {
		names, err := b.v.Env.FS.ReadDir(folder)
		if err != nil {
			return folderProblem(folder, err)
		}
		found <- b.known(folder, names)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return <-found, nil
}

// known are those of the names that are backups of this site, newest first.
func (b *backups) known(folder string, names []string) []*skerryv1.Backup {
	var all []*skerryv1.Backup
	for _, name := range names {
		rest, ours := strings.CutPrefix(name, b.v.Site+"-")
		rest, isBackup := strings.CutSuffix(rest, backupSuffix)
		at, number, both := strings.Cut(rest, "-")
		made, err := time.Parse(backupStamp, at)
		index, err2 := strconv.ParseUint(number, 10, 64)
		if !ours || !isBackup || !both || err != nil || err2 != nil {
			continue
		}
		all = append(all, &skerryv1.Backup{Name: filepath.Join(folder, name), Time: timestamppb.New(made), Index: index})
	}
	slices.SortStableFunc(all, func(x, y *skerryv1.Backup) int {
		return strings.Compare(order(y), order(x))
	})
	return all
}

// order sorts backups by when they were made.
func order(b *skerryv1.Backup) string {
	return fmt.Sprintf("%s-%020d", b.GetTime().AsTime().Format(backupStamp), b.GetIndex())
}
