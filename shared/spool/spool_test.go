package spool

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// disk holds files in memory and fails when told to, before or after a write
// has become durable.
type disk struct {
	env.FS
	files         map[string][]byte
	before, after bool
}

func (d *disk) ReadFile(name string) ([]byte, error) {
	data, found := d.files[name]
	if !found {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

func (d *disk) WriteFile(name string, data []byte, _ os.FileMode) error {
	if d.before {
		return errors.New("no space")
	}
	d.files[name] = data
	if d.after {
		return errors.New("the host stopped")
	}
	return nil
}

func open(t *testing.T, files env.FS, path string) (*Spool, string) {
	t.Helper()
	s, damaged, err := Open(files, path)
	if err != nil {
		t.Fatal(err)
	}
	return s, damaged
}

func drain(t *testing.T, s *Spool) string {
	t.Helper()
	var all []string
	for first := s.First(); first != nil; first = s.First() {
		all = append(all, string(first))
		if err := s.Drop(first); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(all, " ")
}

func TestRecordsAreThereAgainAfterAStartInTheirOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool")
	s, _ := open(t, env.NewSystem().FS, path)
	for _, record := range []string{"a", "b", "c"} {
		if err := s.Add([]byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", info, err)
	}
	again, damaged := open(t, env.NewSystem().FS, path)
	if got := drain(t, again); got != "a b c" || damaged != "" {
		t.Errorf("%q, damaged %q", got, damaged)
	}
	empty, _ := open(t, env.NewSystem().FS, path)
	if empty.First() != nil {
		t.Error("what was dropped came back")
	}
}

func TestACrashAtAnyWriteLosesNothingThatWasPromised(t *testing.T) {
	for _, after := range []bool{false, true} {
		d := &disk{files: map[string][]byte{}}
		s, _ := open(t, d, "spool")
		if err := s.Add([]byte("a")); err != nil {
			t.Fatal(err)
		}
		d.before, d.after = !after, after
		if s.Add([]byte("b")) == nil {
			t.Error("it was promised though the write failed")
		}
		if s.Drop([]byte("a")) == nil {
			t.Error("it was dropped though the write failed")
		}
		if string(s.First()) != "a" {
			t.Errorf("first is %q", s.First())
		}
		if after {
			continue // the drop is durable, whatever the process knew
		}
		d.before = false
		again, _ := open(t, d, "spool")
		if got := drain(t, again); got != "a" {
			t.Errorf("%q is left", got)
		}
	}
}

func TestADamagedFileLosesOnlyTheDamagedRecordsAndIsKept(t *testing.T) {
	d := &disk{files: map[string][]byte{}}
	s, _ := open(t, d, "spool")
	for _, record := range []string{"first", "second", "third"} {
		if err := s.Add([]byte(record)); err != nil {
			t.Fatal(err)
		}
	}
	whole := d.files["spool"]
	for bit := range len(whole) * 8 {
		flipped := append([]byte{}, whole...)
		flipped[bit/8] ^= 1 << (bit % 8)
		hurt := &disk{files: map[string][]byte{"spool": flipped}}
		s, damaged := open(t, hurt, "spool")
		if damaged == "" || string(hurt.files[damaged]) != string(flipped) {
			t.Fatalf("bit %d: the damage was not found, or not kept", bit)
		}
		for _, record := range strings.Fields(drain(t, s)) {
			if !strings.Contains("first second third", record) {
				t.Fatalf("bit %d: %q was never written", bit, record)
			}
		}
	}
	for cut := 1; cut < len(whole); cut++ {
		hurt := &disk{files: map[string][]byte{"spool": whole[:cut]}}
		before := maps.Clone(hurt.files)
		s, damaged := open(t, hurt, "spool")
		if damaged == "" && cut%(len(whole)/3) == 0 {
			continue
		}
		if got := drain(t, s); !strings.HasPrefix("first second third", got) {
			t.Fatalf("cut at %d of %d: %q", cut, len(before["spool"]), got)
		}
	}
}

func TestAFullSpoolRefusesAndSaysWhy(t *testing.T) {
	s, _ := open(t, &disk{files: map[string][]byte{}}, "spool")
	record := make([]byte, maxRecord)
	var err error
	for n := 0; err == nil && n < 100; n++ {
		err = s.Add(record)
	}
	if problem.KindOf(err) != problem.Exhausted {
		t.Fatalf("%v", err)
	}
	if err := s.Drop(s.First()); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(record); err != nil {
		t.Errorf("there is room again: %v", err)
	}
	if err := s.Add(make([]byte, maxRecord+1)); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a long record: %v", err)
	}
}
