package leafstore

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// openDisk opens a store on a real disk; the engine must not end the process.
func openDisk(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(vfs.Default, dir, slog.New(slog.DiscardHandler), func(why string) { t.Errorf("the engine gives up: %s", why) })
	must(t, err)
	return s
}

// written is a store whose leaves are in a table; it returns where its files are.
func written(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "audit")
	leaves, _ := grow(t, 2000)
	s := openDisk(t, dir)
	must(t, s.Append(leaves))
	must(t, s.Sync())
	must(t, s.Close())
	must(t, openDisk(t, dir).Close()) // what was in the write-ahead log is in a table now
	return dir
}

// one file of the store, of those that match.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	must(t, err)
	if len(names) == 0 {
		t.Fatalf("there is no %s", pattern)
	}
	return names[len(names)-1]
}

// flip a bit in the middle of a file.
func flip(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(name)
	must(t, err)
	data[len(data)/3] ^= 1
	must(t, os.WriteFile(name, data, 0o600))
}

// The log of the site is in order: it must not be given up because of its audit log.
func TestLeavesThatAreDamagedAreSetAsideWhenTheStoreOpens(t *testing.T) {
	for name, damage := range map[string]func(dir string){
		"a bit in the manifest": func(dir string) { flip(t, one(t, dir, "MANIFEST-*")) },
		"no manifest":           func(dir string) { must(t, os.Remove(one(t, dir, "MANIFEST-*"))) },
		"a table is gone":       func(dir string) { must(t, os.Remove(one(t, dir, "*.sst"))) },
		"a table is cut off":    func(dir string) { must(t, os.Truncate(one(t, dir, "*.sst"), 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := written(t)
			damage(dir)
			for range 2 {
				if err := Check(vfs.Default, dir, slog.New(slog.DiscardHandler)); !errors.Is(err, ErrDamaged) {
					t.Errorf("the check tells %v", err)
				}
			}
			s := openDisk(t, dir)
			if first, through := s.Range(); s.Aside() != dir+"-damaged-1" || first != 0 || through != 0 {
				t.Errorf("leaves %d to %d are here, and the damaged ones in %q", first, through, s.Aside())
			}
			if left, err := os.ReadDir(dir + "-damaged-1"); err != nil || len(left) == 0 {
				t.Errorf("what was set aside is not there: %v %v", left, err)
			}
			leaves, _ := grow(t, 2000)
			must(t, s.Append(leaves)) // they come back
			must(t, s.Sync())
			must(t, s.Close())
			must(t, Check(vfs.Default, dir, slog.New(slog.DiscardHandler)))
			s = openDisk(t, dir)
			if _, through := s.Range(); s.Aside() != "" || through != 2000 {
				t.Errorf("the next time leaves up to %d are here, and others in %q", through, s.Aside())
			}
			must(t, s.Close())
		})
	}
}

func TestDamageThatIsFoundLaterEndsTheStoreAlone(t *testing.T) {
	dir := written(t)
	flip(t, one(t, dir, "*.sst"))
	s := openDisk(t, dir)
	var damage error
	for number := uint64(0); number < 2000 && damage == nil; number++ {
		_, damage = s.Leaf(number)
	}
	if !errors.Is(damage, ErrDamaged) {
		t.Fatalf("reading all leaves gave %v", damage)
	}
	watched := make(chan error, 1)
	go func() { watched <- s.Watch(t.Context()) }()
	select {
	case err := <-watched:
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), ".sst") {
			t.Errorf("it says %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("nobody is told")
	}
	must(t, s.Condemn())
	must(t, s.Close())
	s = openDisk(t, dir)
	if s.Aside() == "" {
		t.Error("it is used again")
	}
	must(t, s.Close())
}
