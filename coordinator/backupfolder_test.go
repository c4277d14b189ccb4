package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// slowFS is a mount that hangs.
type slowFS struct {
	env.FS
	hangs chan struct{}
}

func (s slowFS) ReadDir(string) ([]string, error) {
	<-s.hangs
	return nil, errors.New("it was taken away")
}

func touch(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOldBackupsOfThisSiteAreDeletedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	v := openVoter(t, nil)
	t.Cleanup(func() { _ = v.log.Close() })
	touch(t, dir, "harbour-20261101T000000Z-9.skerry-backup", "harbour-20261102T000000Z-10.skerry-backup", "harbour-20261102T000000Z-9.skerry-backup",
		"quay-20261101T000000Z-9.skerry-backup", "harbour-notes.txt", "harbour-20261101T000000Z-9.skerry-backup.old",
		".harbour-20261101T000000Z-9.skerry-backup.123.tmp")
	if err := v.backups.retain(manifest.Backups{Folder: dir, Keep: 2}); err != nil {
		t.Fatal(err)
	}
	left, err := v.Env.FS.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	const want = "harbour-20261101T000000Z-9.skerry-backup.old harbour-20261102T000000Z-10.skerry-backup " +
		"harbour-20261102T000000Z-9.skerry-backup harbour-notes.txt quay-20261101T000000Z-9.skerry-backup"
	if got := strings.Join(left, " "); got != want {
		t.Errorf("left are\n%s, want\n%s", got, want)
	}
	listed, err := v.backups.List(t.Context(), dir)
	if err != nil || len(listed) != 2 || listed[0].GetIndex() != 10 {
		t.Errorf("listed are %v, %v", listed, err)
	}
}

func TestAFolderThatHangsHoldsNothingUp(t *testing.T) {
	hangs := make(chan struct{})
	v := openVoter(t, func(c *Config) { c.Env.FS = slowFS{c.Env.FS, hangs} })
	t.Cleanup(func() { _ = v.log.Close() })
	ctx, cancel := contextThatEnds(t)
	defer cancel()
	if _, err := v.backups.List(ctx, "/mnt/backup"); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("it gave %v", err)
	}
	if _, err := v.backups.List(ctx, "/mnt/backup"); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "has not ended") {
		t.Errorf("the next one gave %v", err)
	}
	close(hangs)
	v.backups.folder <- struct{}{} // it has ended
}

func TestABackupWaitsForWhoLooksIntoTheFolder(t *testing.T) {
	dir := t.TempDir()
	v := openVoter(t, nil)
	t.Cleanup(func() { _ = v.log.Close() })
	v.backups.folder <- struct{}{} // somebody lists what is there
	done := make(chan error, 1)
	go func() {
		done <- v.backups.write(t.Context(), manifest.Backups{Folder: dir, Keep: 2}, filepath.Join(dir, "harbour-20261101T000000Z-9.skerry-backup"), nil)
	}()
	select {
	case err := <-done:
		t.Fatal("it did not wait: ", err)
	case <-time.After(20 * time.Millisecond):
	}
	<-v.backups.folder
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestAFolderThatIsStillGoneIsNoNews(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not-mounted")
	v := openVoter(t, nil)
	t.Cleanup(func() { _ = v.log.Close() })
	var said [2]string
	for i := range said {
		name := fmt.Sprintf("harbour-20261101T00000%dZ-%d.skerry-backup", i, i)
		err := v.backups.write(t.Context(), manifest.Backups{Folder: dir, Keep: 2}, filepath.Join(dir, name), nil)
		if err == nil || !strings.Contains(err.Error(), "no such file or directory (is it mounted") {
			t.Fatalf("it gave %v", err)
		}
		said[i] = err.Error()
	}
	if said[0] != said[1] {
		t.Errorf("the log would be told each time:\n%s\n%s", said[0], said[1])
	}
}

// contextThatEnds has ended already.
func contextThatEnds(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}
