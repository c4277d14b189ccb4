package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
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

// siteVoter is a voter of the site harbour, and how its ID begins.
func siteVoter(t *testing.T) (v *Voter, id string) {
	t.Helper()
	v = openVoter(t, nil)
	t.Cleanup(func() { _ = v.log.Close() })
	authority, err := certs.NewAuthority(v.Env.Rand, "harbour", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	trust, err := certs.FirstTrust("harbour", authority)
	if err != nil {
		t.Fatal(err)
	}
	outcome := v.store.Apply(1, &sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "harbour", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: make([]byte, 32),
		Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: make([]byte, 32)}, Node: &skerryv1.Node{Name: "n1", KeyFingerprint: make([]byte, 32)},
	}}})
	if outcome.GetErrorKind() != "" {
		t.Fatal(outcome)
	}
	return v, certs.SiteID(trust)[:8]
}

func TestOldBackupsOfThisSiteAreDeletedAndNothingElse(t *testing.T) {
	v, id := siteVoter(t)
	var (
		earlier = "harbour-20261101T000000Z-" + id + "-1-9.skerry-backup"
		// Made while site time was a year ahead, and before the site was restored.
		ahead  = "harbour-20271101T000000Z-" + id + "-1-99.skerry-backup"
		second = "harbour-20261102T000000Z-" + id + "-2-10.skerry-backup"
		newest = "harbour-20261101T120000Z-" + id + "-2-11.skerry-backup"
		others = "quay-20261101T000000Z-5b1f0c2e-1-9.skerry-backup harbour-20261101T000000Z-ddfa7904-1-9.skerry-backup harbour-notes.txt " + earlier + ".old"
	)
	for _, test := range []struct {
		keep    int
		written string
		want    string
	}{
		{2, newest, second + " " + newest},
		{1, newest, newest},
		{3, newest, ahead + " " + second + " " + newest},
		// The site was restored twice from the same backup.
		{2, earlier, newest + " " + earlier},
	} {
		dir := t.TempDir()
		touch(t, dir, earlier, ahead, second, newest, "."+earlier+".123.tmp")
		touch(t, dir, strings.Fields(others)...)
		if err := v.backups.retain(manifest.Backups{Folder: dir, Keep: test.keep}, filepath.Join(dir, test.written)); err != nil {
			t.Fatal(err)
		}
		left, err := v.Env.FS.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Fields(others + " " + test.want)
		slices.Sort(want)
		if !slices.Equal(left, want) {
			t.Errorf("%d to keep, %s written: left are\n%q, want\n%q", test.keep, test.written, left, want)
		}
		listed, err := v.backups.List(t.Context(), dir)
		if err != nil || len(listed) != test.keep || filepath.Base(listed[0].GetName()) != newest {
			t.Errorf("listed are %v, %v", listed, err)
		}
	}
}

func TestTheNameOfABackupIsReadAsItWasWritten(t *testing.T) {
	v, id := siteVoter(t)
	made := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	name := v.backups.nameOf(keptBackup{epoch: 3, made: &skerryv1.Backup{Time: timestamppb.New(made), Index: 81211}})
	if name != "harbour-20261121T030000Z-"+id+"-3-81211.skerry-backup" {
		t.Errorf("it is %s", name)
	}
	got, ours := v.backups.parse(name)
	if !ours || got.epoch != 3 || got.made.GetIndex() != 81211 || !got.made.GetTime().AsTime().Equal(made) {
		t.Errorf("it is read as %+v, %t", got, ours)
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
