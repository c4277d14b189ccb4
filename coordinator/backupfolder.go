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
	// folderTime bounds the wait for a folder: a mount may hang for ever.
	folderTime = time.Minute
	// maxDeleted backups are deleted at once.
	maxDeleted = 100
)

// within does something in the folder. What hangs there is not waited for when
// its time is over; nothing else is begun there until it has ended.
func (b *backups) within(ctx context.Context, folder string, do func() error) error {
	select {
	case b.folder <- struct{}{}:
	default:
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

func folderProblem(folder string, err error) error {
	return problem.New(problem.Unavailable, folder, "%w", err).
		WithHint("is it mounted, with room in it, and may root write there? the site goes on; backups are tried again by themselves")
}

// Keep implements api.Backups.
func (b *backups) Keep(ctx context.Context, settings manifest.Backups) (*skerryv1.Backup, error) {
	data, made, err := b.Make(ctx)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%s-%d%s", b.v.Site, made.GetTime().AsTime().UTC().Format(backupStamp), made.GetIndex(), backupSuffix)
	made.Name = filepath.Join(settings.Folder, name)
	err = b.within(ctx, settings.Folder, func() error {
		if err := b.v.Env.FS.WriteFile(made.GetName(), data, 0o600); err != nil {
			return folderProblem(settings.Folder, err)
		}
		return b.retain(settings)
	})
	return made, err
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
			return folderProblem(settings.Folder, fmt.Errorf("an old backup cannot be deleted: %w", err))
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
