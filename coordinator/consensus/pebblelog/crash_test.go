package pebblelog

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
)

// history of a log: what a replica does to it, one after the other. The last
// entries of one step are replaced by the next one now and then.
var history = []struct {
	name string
	do   func(*Log) error
}{
	{"first entries", func(l *Log) error { return l.Append(nil, testEntries(1, 9, 1), testHard(1, 1, 5), true) }},
	{"a new leader's", func(l *Log) error { return l.Append(nil, testEntries(7, 8, 2), testHard(2, 2, 7), true) }},
	{"a vote", func(l *Log) error { return l.Append(nil, nil, testHard(3, 1, 7), true) }},
	{"shorter than before", func(l *Log) error { return l.Append(nil, testEntries(8, 8, 3), testHard(3, 1, 7), true) }},
	{"a compaction", func(l *Log) error { return l.Compact(testSnapshot(7, 2), 5) }},
	{"more entries", func(l *Log) error { return l.Append(nil, testEntries(9, 20, 3), testHard(3, 1, 18), true) }},
	{"a received snapshot", func(l *Log) error { return l.Append(testSnapshot(40, 4), nil, testHard(4, 0, 40), true) }},
	{"entries after it", func(l *Log) error { return l.Append(nil, testEntries(41, 45, 4), testHard(4, 2, 43), true) }},
	{"a compaction of all", func(l *Log) error { return l.Compact(testSnapshot(43, 4), 43) }},
	{"the last entries", func(l *Log) error { return l.Append(nil, testEntries(44, 50, 5), testHard(5, 2, 45), true) }},
}

// TestPowerCutAtAnyWriteLosesNothingAcknowledged takes the disk before each
// single change of a file, and opens the log from there: it holds what had
// been acknowledged by then, or that and the step under way.
func TestPowerCutAtAnyWriteLosesNothingAcknowledged(t *testing.T) {
	for _, keep := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("and %d %% of what is not synced stays", keep), func(t *testing.T) {
			type moment struct {
				disk *vfs.MemFS
				done int
				op   string
			}
			disk := vfs.NewCrashableMem()
			rng := rand.New(rand.NewPCG(1, uint64(keep)))
			var mu sync.Mutex
			var moments []moment
			done := 0
			watched := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rng})
				moments = append(moments, moment{left, done, fmt.Sprint(op.Kind, " ", path.Base(op.Path))})
				return nil
			}))
			states := []held{{}}
			for _, step := range history {
				// Opened again for each: recovery is full of changes too.
				log, err := Open(watched, testDir, silent)
				if err != nil {
					t.Fatal(err)
				}
				if err := step.do(log); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				states = append(states, contents(t, log))
				mu.Lock()
				done++
				mu.Unlock()
				if err := log.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if len(moments) < 100 {
				t.Fatalf("only %d changes of files were seen", len(moments))
			}
			refused := 0
			for i, m := range moments {
				log, err := Open(m.disk, testDir, silent)
				if errors.Is(err, fs.ErrNotExist) && keep > 0 && keep < 100 {
					// Names came to the disk in another order than they were made,
					// as on no file system with a journal: refused, not accepted.
					refused++
					continue
				}
				if err != nil {
					t.Fatalf("after change %d, %s, %d steps: %v", i, m.op, m.done, err)
				}
				got := contents(t, log)
				next := min(m.done+1, len(states)-1)
				if !cmp.Equal(got, states[m.done]) && !cmp.Equal(got, states[next]) {
					t.Errorf("after change %d, %s, %d steps (-want +got):\n%s", i, m.op, m.done, cmp.Diff(states[m.done], got))
				}
				if err := log.Close(); err != nil {
					t.Error(err)
				}
			}
			if refused > len(moments)/4 {
				t.Errorf("%d of %d power cuts made the log untrusted", refused, len(moments))
			}
		})
	}
}

// TestOnlyAnIncompleteTailIsCut tears the write-ahead log behind an extent
// that an earlier batch has left: what the extent covers must be there.
func TestOnlyAnIncompleteTailIsCut(t *testing.T) {
	disk := newMemDisk(100)
	disk.Open(t)
	if err := disk.open.Append(nil, testEntries(1, 10, 1), testHard(1, 1, 1), true); err != nil {
		t.Fatal(err)
	}
	extent := readFile(t, disk.fs, path.Join(testDir, "extent"))
	covered := disk.open.SyncedExtent()
	if err := disk.open.Append(nil, testEntries(11, 20, 1), testHard(1, 1, 10), true); err != nil {
		t.Fatal(err)
	}
	want := contents(t, disk.open)
	disk.Crash(t)
	// A power cut may take the extent's last write, which is not synced.
	writeFile(t, disk.fs, path.Join(testDir, "extent"), extent)
	wal := ""
	for _, name := range files(t, disk.fs) {
		if strings.HasSuffix(name, ".log") {
			wal = name
		}
	}
	data := readFile(t, disk.fs, wal)
	opened, untrusted := map[int]bool{}, 0
	for cut := len(data); cut >= 0; cut -= 13 {
		torn := disk.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: disk.rng})
		writeFile(t, torn, wal, data[:cut])
		log, err := Open(torn, testDir, silent)
		if errors.Is(err, ErrUntrusted) {
			untrusted++
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", cut, len(data), err)
		}
		got := contents(t, log)
		n := len(got.Entries)
		opened[n] = true
		if n < int(covered) {
			t.Errorf("cut at %d of %d: %d entries were accepted, %d were durable", cut, len(data), n, covered)
		} else if diff := cmp.Diff(want.Entries[:n], got.Entries); diff != "" {
			t.Errorf("cut at %d of %d (-want +got):\n%s", cut, len(data), diff)
		}
		// It goes on from there.
		if err := log.Append(nil, testEntries(log.last()+1, 30, 2), testHard(2, 3, 10), true); err != nil {
			t.Errorf("cut at %d of %d: %v", cut, len(data), err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}
	if !opened[20] || !opened[10] || len(opened) != 2 || untrusted == 0 {
		t.Errorf("the log opened with %v entries, and was refused %d times: want 20 or 10, and refusals", opened, untrusted)
	}
}

// TestWhatTheDiskRefusesIsNotAcknowledged fails one kind of write for good.
func TestWhatTheDiskRefusesIsNotAcknowledged(t *testing.T) {
	more := func(l *Log) error { return l.Append(nil, testEntries(11, 12, 1), nil, true) }
	for _, test := range []struct {
		name  string
		kinds []errorfs.OpKind
		file  string
		do    func(*Log) error
	}{
		{"an fsync of entries", []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}, ".log", more},
		{"a write of entries", []errorfs.OpKind{errorfs.OpFileWrite}, ".log", more},
		{"a write of the synced extent", []errorfs.OpKind{errorfs.OpFileWriteAt}, "extent", more},
		{
			"an fsync of the synced extent before entries are replaced", []errorfs.OpKind{errorfs.OpFileSync}, "extent",
			func(l *Log) error { return l.Append(nil, testEntries(5, 5, 2), nil, true) },
		},
		{
			"a write of the synced extent before a snapshot replaces all", []errorfs.OpKind{errorfs.OpFileWriteAt}, "extent",
			func(l *Log) error { return l.Append(testSnapshot(30, 2), nil, testHard(2, 0, 30), true) },
		},
		{
			"an fsync of a compaction", []errorfs.OpKind{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}, ".log",
			func(l *Log) error { return l.Compact(testSnapshot(4, 1), 4) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			failing := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
				for _, kind := range test.kinds {
					if op.Kind == kind && strings.HasSuffix(op.Path, test.file) {
						return syscall.EIO
					}
				}
				return nil
			})}
			log, err := Open(errorfs.Wrap(mem, failing), testDir, silent)
			if err != nil {
				t.Fatal(err)
			}
			if err := log.Append(nil, testEntries(1, 10, 1), testHard(1, 1, 4), true); err != nil {
				t.Fatal(err)
			}
			want := contents(t, log)
			failing.On()
			if err := halts(func() error { return test.do(log) }); err == nil {
				t.Error("it was acknowledged")
			}
			left := mem.CrashClone(vfs.CrashCloneCfg{})
			failing.Off()
			if err := halts(func() error { return test.do(log) }); err == nil {
				t.Error("the disk is well again, and it was tried once more")
			}
			_ = halts(log.Close) // it has failed: what it says does not matter
			// The next process could read what is not on the disk.
			if _, err := Open(mem, testDir, silent); !errors.Is(err, ErrUntrusted) {
				t.Errorf("the next process opens it: %v", err)
			}
			// After a power cut nothing is there but what is on the disk.
			log, err = Open(left, testDir, silent)
			if err != nil {
				t.Fatal(err)
			}
			// What was refused may be there all the same.
			got := contents(t, log)
			got.Entries = got.Entries[:min(len(got.Entries), len(want.Entries))]
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what was acknowledged before (-want +got):\n%s", diff)
			}
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// halts takes the end of the process for an error.
func halts(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	return do()
}

func TestDamageFoundLaterHaltsTheReplica(t *testing.T) {
	disk := newMemDisk(100)
	disk.Open(t)
	defer func() { _ = disk.open.Close() }() // it is damaged
	if err := disk.open.Append(nil, testEntries(1, 20, 1), testHard(1, 1, 4), true); err != nil {
		t.Fatal(err)
	}
	disk.open.damage.listener().DataCorruption(damageOf("000005.sst"))
	for name, do := range map[string]func() error{
		"append":  func() error { return disk.open.Append(nil, testEntries(21, 21, 1), nil, true) },
		"compact": func() error { return disk.open.Compact(testSnapshot(4, 1), 4) },
	} {
		if err := do(); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: error %v, want one that names the log untrusted", name, err)
		}
	}
}
