package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

func quiet(int64, int64) {}

// set is two disks and their keeper.
type set struct {
	Keeper
	disks []Disk
}

func newSet(t *testing.T) *set {
	t.Helper()
	dir := t.TempDir()
	s := &set{Keeper: Keeper{Dir: filepath.Join(dir, "snapshots"), FS: env.NewSystem().FS}}
	for _, name := range []string{"root", "data"} {
		s.disks = append(s.disks, Disk{name, filepath.Join(dir, name), "raw"})
	}
	s.write(t, "one")
	return s
}

const diskBytes = 4 << 20

// write puts text behind a hole of each disk.
func (s *set) write(t *testing.T, text string) {
	t.Helper()
	for _, disk := range s.disks {
		f, err := os.Create(disk.File)
		must(t, err)
		must(t, f.Truncate(diskBytes))
		_, err = f.WriteAt([]byte(text+" "+disk.Name), diskBytes/2)
		must(t, err)
		must(t, f.Close())
	}
}

func (s *set) want(t *testing.T, text string) {
	t.Helper()
	for _, disk := range s.disks {
		content, err := os.ReadFile(disk.File)
		must(t, err)
		want := text + " " + disk.Name
		if got := string(content[diskBytes/2:][:len(want)]); got != want || len(content) != diskBytes {
			t.Errorf("%s holds %q in %d bytes, want %q", disk.Name, got, len(content), want)
		}
		if used := Used(disk.File); used > diskBytes/4 {
			t.Errorf("%s has lost its holes: it takes %d bytes", disk.Name, used)
		}
		if _, err := os.Stat(disk.File + restoredMark); err == nil {
			t.Errorf("%s was left", disk.File+restoredMark)
		}
	}
}

func (s *set) create(name string) error {
	return s.Create(name, func(dir string) (Snapshot, error) {
		disks, err := CopyDisks(context.Background(), s.disks, dir, quiet)
		return Snapshot{Created: time.Unix(1, 0), Disks: disks}, err
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDisksComeBackAsTheyWere(t *testing.T) {
	s := newSet(t)
	must(t, s.create("before"))
	s.write(t, "two")
	must(t, s.create("after"))
	for name, want := range map[string]string{"before": "one", "after": "two"} {
		must(t, s.Restore(t.Context(), name, s.disks, quiet))
		s.want(t, want)
	}
	all, err := s.List()
	if err != nil || len(all) != 2 || all[0].Name != "after" || all[0].Used == 0 || all[0].Used > diskBytes {
		t.Errorf("the snapshots are %+v, %v", all, err)
	}
	for range 2 {
		must(t, s.Delete("before"))
	}
	if _, err := s.Get("before"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("what was deleted is still there: %v", err)
	}
}

func TestWhatFailsLeavesNothing(t *testing.T) {
	s := newSet(t)
	broken := errors.New("broken")
	if err := s.Create("half", func(dir string) (Snapshot, error) {
		_, err := CopyDisks(t.Context(), s.disks, dir, quiet)
		return Snapshot{}, errors.Join(err, broken)
	}); !errors.Is(err, broken) {
		t.Errorf("it gave %v", err)
	}
	must(t, os.MkdirAll(filepath.Join(s.Dir, "crashed"+partial), passable))
	must(t, s.create("whole"))
	left, err := os.ReadDir(s.Dir)
	if err != nil || len(left) != 1 {
		t.Errorf("there are %v, %v", left, err)
	}
}

func TestARestoreIsWholeOrNothing(t *testing.T) {
	s := newSet(t)
	must(t, s.create("before"))
	s.write(t, "two")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	// A copy that is not complete is forgotten. (Where blocks are shared, it is.)
	if err := s.Restore(ended, "before", s.disks, quiet); err != nil {
		s.want(t, "two")
	}
	s.write(t, "two")
	// As after a crash between the renames: the first disk is in its place.
	saved, err := s.Get("before")
	must(t, err)
	must(t, Copy(t.Context(), saved.Disks[0].File, s.disks[0].File, quiet))
	must(t, Copy(t.Context(), saved.Disks[1].File, s.disks[1].File+restoredMark, quiet))
	journal := fmt.Sprintf("[%q,%q]", s.disks[0].File, s.disks[1].File)
	must(t, os.WriteFile(filepath.Join(s.Dir, journalFile), []byte(journal), 0o600))
	must(t, s.Finish(s.disks))
	s.want(t, "one")
}

func TestRefusals(t *testing.T) {
	s := newSet(t)
	must(t, s.create("a"))
	for name, kind := range map[string]problem.Kind{
		"../a": problem.Invalid, "": problem.Invalid, "A": problem.Invalid, "a.part": problem.Invalid, "a": problem.Conflict,
	} {
		if err := s.create(name); problem.KindOf(err) != kind {
			t.Errorf("%q gave %v", name, err)
		}
	}
	if err := s.Restore(t.Context(), "a", s.disks[:1], quiet); problem.KindOf(err) != problem.Conflict {
		t.Errorf("other disks gave %v", err)
	}
	if err := s.Restore(t.Context(), "b", s.disks, quiet); problem.KindOf(err) != problem.NotFound {
		t.Errorf("one that is not there gave %v", err)
	}
	for n := range Max - 1 {
		must(t, s.create(fmt.Sprintf("n%d", n)))
	}
	if err := s.create("more"); problem.KindOf(err) != problem.Exhausted {
		t.Errorf("one too many gave %v", err)
	}
	s.want(t, "one")
}
