package directory

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	system := env.NewSystem()
	return &Store{Dir: t.TempDir(), Clock: system.Clock, FS: system.FS}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *Store) ensure(t *testing.T, name string, made bool) error {
	t.Helper()
	return s.Ensure("shop", name, runtime.Volume{SizeBytes: 1 << 20, Made: made}, os.Getuid(), os.Getgid())
}

func TestAVolumeIsMadeOnceAndKeptAsItIs(t *testing.T) {
	s := newStore(t)
	must(t, os.MkdirAll(s.Path("shop", "data")+".new", 0o700)) // of a crash
	must(t, s.ensure(t, "data", false))
	file := filepath.Join(s.Path("shop", "data"), "orders")
	must(t, os.WriteFile(file, []byte("1"), 0o600))
	must(t, s.ensure(t, "data", true))
	if text, err := os.ReadFile(file); err != nil || string(text) != "1" {
		t.Errorf("what was in it is %q, %v", text, err)
	}
	info, err := os.Stat(s.Path("shop", "data"))
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("it is %v, %v", info, err)
	}
}

func TestNothingEmptyTakesThePlaceOfDataThatIsGone(t *testing.T) {
	s := newStore(t)
	if err := s.ensure(t, "data", true); problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("a volume whose data is gone gave %v", err)
	}
	must(t, os.MkdirAll(filepath.Dir(s.Path("shop", "link")), 0o700))
	must(t, os.Symlink("/etc", s.Path("shop", "link")))
	if err := s.ensure(t, "link", false); problem.KindOf(err) != problem.Conflict {
		t.Errorf("a link in place of the directory gave %v", err)
	}
	if err := s.Ensure("shop", "../etc", runtime.Volume{}, 0, 0); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a name that climbs out gave %v", err)
	}
	if held, err := s.Held(); err != nil || len(held) != 0 {
		t.Errorf("it holds %v, %v", held, err)
	}
}

func TestWhatVolumesTakeIsMeasured(t *testing.T) {
	s := newStore(t)
	must(t, s.ensure(t, "data", false))
	must(t, s.ensure(t, "empty", false))
	data, outside := s.Path("shop", "data"), filepath.Join(t.TempDir(), "large")
	must(t, os.WriteFile(outside, bytes.Repeat([]byte("x"), 8<<20), 0o600))
	must(t, os.Mkdir(filepath.Join(data, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(data, "sub", "file"), bytes.Repeat([]byte("x"), 1<<20), 0o600))
	must(t, os.Link(filepath.Join(data, "sub", "file"), filepath.Join(data, "again")))
	must(t, os.Symlink(filepath.Dir(outside), filepath.Join(data, "away")))
	s.Measure(t.Context())
	held, err := s.Held()
	must(t, err)
	var names []string
	for _, v := range held {
		names = append(names, v.Project+"/"+v.Name)
	}
	if diff := cmp.Diff([]string{"shop/data", "shop/empty"}, names); diff != "" {
		t.Fatalf("it holds (-want +got)\n%s", diff)
	}
	if used := held[0].Used; used < 1<<20 || used > 1<<20+64<<10 {
		t.Errorf("1 MiB with two names, and a link to what is outside, take %d bytes", used)
	}
	if held[1].Used > 64<<10 {
		t.Errorf("an empty one takes %d bytes", held[1].Used)
	}
}

func TestADeletedVolumeIsGoneAtOnce(t *testing.T) {
	s := newStore(t)
	must(t, s.Delete("shop", "data"))
	must(t, s.ensure(t, "data", false))
	half := filepath.Join(s.Dir, goneMark+"shop.old")
	must(t, os.MkdirAll(filepath.Join(half, "data"), 0o700))
	must(t, s.Delete("shop", "data"))
	s.Measure(t.Context())
	if entries, err := os.ReadDir(s.Dir); err != nil || len(entries) != 0 {
		t.Errorf("there is still %v, %v", entries, err)
	}
}
