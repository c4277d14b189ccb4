package coordinator

import (
	"cmp"
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
	kept := keptBackup{epoch: b.v.store.View().SiteEpoch(), made: made}
	made.Name = filepath.Join(settings.Folder, b.nameOf(kept))
	return made, b.write(ctx, settings, made.GetName(), data)
}

// write a backup into the folder, and delete those that are too many.
func (b *backups) write(ctx context.Context, settings manifest.Backups, name string, data []byte) error {
	return b.within(ctx, settings.Folder, func() error {
		if err := b.v.Env.FS.WriteFile(name, data, 0o600); err != nil {
			return folderProblem(settings.Folder, err)
		}
		return b.retain(settings, name)
	})
}

// retain deletes what is more than the site is to keep, and what a crash left; the
// newest, which was just written, stays whatever the others are called.
func (b *backups) retain(settings manifest.Backups, newest string) error {
	names, err := b.v.Env.FS.ReadDir(settings.Folder)
	if err != nil {
		return folderProblem(settings.Folder, err)
	}
	old := slices.DeleteFunc(b.known(settings.Folder, names), func(made *skerryv1.Backup) bool { return made.GetName() == newest })
	for _, old := range first(old[min(settings.Keep-1, len(old)):], maxDeleted) {
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

// known are those of the names that are backups of this site, newest first: by the
// log, since clocks are set back.
func (b *backups) known(folder string, names []string) []*skerryv1.Backup {
	var kept []keptBackup
	for _, name := range names {
		if k, ours := b.parse(name); ours {
			k.made.Name = filepath.Join(folder, name)
			kept = append(kept, k)
		}
	}
	slices.SortFunc(kept, func(x, y keptBackup) int {
		return cmp.Or(cmp.Compare(y.epoch, x.epoch), cmp.Compare(y.made.GetIndex(), x.made.GetIndex()), strings.Compare(y.made.GetName(), x.made.GetName()))
	})
	var all []*skerryv1.Backup
	for _, k := range kept {
		all = append(all, k.made)
	}
	return all
}

// keptBackup is a backup as the name of its file tells.
type keptBackup struct {
	// epoch of the site, in which the index of the log only grows.
	epoch uint64
	made  *skerryv1.Backup
}

// nameOf its file: SITE-TIME-ID-EPOCH-INDEX.skerry-backup, with the beginning of the
// site's ID, which tells it from another site that was given the same name.
func (b *backups) nameOf(k keptBackup) string {
	return fmt.Sprintf("%s-%s-%s-%d-%d%s", b.v.Site, k.made.GetTime().AsTime().UTC().Format(backupStamp), b.shortID(), k.epoch, k.made.GetIndex(), backupSuffix)
}

func (b *backups) parse(name string) (k keptBackup, ours bool) {
	rest, ofName := strings.CutPrefix(name, b.v.Site+"-")
	rest, isBackup := strings.CutSuffix(rest, backupSuffix)
	parts := strings.Split(rest, "-")
	if !ofName || !isBackup || len(parts) != 4 || parts[1] != b.shortID() {
		return k, false
	}
	made, err := time.Parse(backupStamp, parts[0])
	epoch, err2 := strconv.ParseUint(parts[2], 10, 64)
	index, err3 := strconv.ParseUint(parts[3], 10, 64)
	return keptBackup{epoch: epoch, made: &skerryv1.Backup{Time: timestamppb.New(made), Index: index}}, errors.Join(err, err2, err3) == nil
}

func (b *backups) shortID() string {
	const length = 8
	id := b.v.store.View().SiteID()
	return id[:min(length, len(id))]
}
