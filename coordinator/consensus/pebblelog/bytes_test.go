package pebblelog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// wholeDisk tries every byte, as `make storage` does; else some of them.
var wholeDisk = os.Getenv("SKERRY_STORAGE") == "full"

// wantCases is how many kinds of damage `make storage` tries.
const wantCases = 40_000

// victim is a disk with a log, what the log held, and how many entries after its
// snapshot were durable for certain.
type victim struct {
	name  string
	disk  *vfs.MemFS
	want  held
	least int
	// each bit of it is flipped.
	each bool
}

// tally counts what became of damaged logs.
type tally struct{ whole, prefix, refused atomic.Int64 }

func (c *tally) cases() int64 { return c.whole.Load() + c.prefix.Load() + c.refused.Load() }

// open a copy of the disk after some damage. Either what was durable is there, and
// after it nothing but what followed; or the log is named untrusted.
func (v victim) open(t testing.TB, count *tally, what string, damage func(vfs.FS)) {
	t.Helper()
	fs := v.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newMemDisk(0).rng})
	damage(fs)
	log, err := Open(fs, testDir, silent)
	if err != nil {
		if !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: error %v, want one that names the log untrusted", what, err)
		}
		count.refused.Add(1)
		return
	}
	got, want := contents(t, log), v.want
	n := len(got.Entries)
	if n < v.least || n > len(want.Entries) {
		t.Errorf("%s: %d entries, want %d to %d", what, n, v.least, len(want.Entries))
	}
	whole := n == len(want.Entries)
	want.Entries = want.Entries[:min(n, len(want.Entries))]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s, and the log opens with other contents (-want +got):\n%s", what, diff)
	}
	if err := log.Close(); err != nil {
		t.Errorf("%s: close: %v", what, err)
	}
	if whole {
		count.whole.Add(1)
	} else {
		count.prefix.Add(1)
	}
}

// damages of data: cut at each byte, and a bit flipped in it, or each of its bits.
// Without `make storage` some bytes of many stand for all.
func damages(data []byte, each bool, try func(what string, changed []byte)) {
	step := 1
	if !wholeDisk {
		step = max(1, len(data)/40)
	}
	for at := 0; at < len(data); at += step {
		try(fmt.Sprintf("cut at %d of %d", at, len(data)), data[:at])
		for bit := range 8 {
			if !(wholeDisk && each) && bit != at%8 {
				continue
			}
			changed := bytes.Clone(data)
			changed[at] ^= 1 << bit
			try(fmt.Sprintf("bit %d of byte %d of %d flipped", bit, at, len(data)), changed)
		}
	}
}

// torn is a log whose process died behind a batch that the extent does not tell of.
func torn(t testing.TB) victim {
	t.Helper()
	disk := newMemDisk(100)
	disk.Open(t)
	if err := disk.open.Append(nil, testEntries(1, 10, 1), testHard(1, 1, 1), true); err != nil {
		t.Fatal(err)
	}
	extent := readFile(t, disk.fs, path.Join(testDir, "extent"))
	if err := disk.open.Append(nil, testEntries(11, 20, 1), nil, true); err != nil {
		t.Fatal(err)
	}
	want := contents(t, disk.open)
	disk.Crash(t)
	writeFile(t, disk.fs, path.Join(testDir, "extent"), extent)
	return victim{"a process that died", disk.fs, want, 10, false}
}

// received is a log that began with another's snapshot.
func received(t testing.TB) victim {
	t.Helper()
	disk := newMemDisk(100)
	disk.Open(t)
	if err := disk.open.Append(testSnapshot(40, 4), testEntries(41, 45, 4), testHard(4, 2, 43), true); err != nil {
		t.Fatal(err)
	}
	want := contents(t, disk.open)
	if err := disk.open.Close(); err != nil {
		t.Fatal(err)
	}
	return victim{"a received snapshot", disk.fs, want, len(want.Entries), false}
}

func TestDamageIsRefusedOrCutsOnlyWhatWasNeverDurable(t *testing.T) {
	disk, want := lived(t)
	count := &tally{}
	t.Run("files", func(t *testing.T) {
		for _, v := range []victim{{"a long life", disk, want, len(want.Entries), true}, torn(t), received(t)} {
			for _, name := range files(t, v.disk) {
				t.Run(v.name+" "+path.Base(name), func(t *testing.T) {
					t.Parallel()
					damageFile(t, v, count, name)
				})
			}
		}
	})
	t.Run("records", func(t *testing.T) {
		v := victim{"a long life", disk, want, len(want.Entries), true}
		for _, key := range [][]byte{hardKey, snapshotKey, entryKey(21), entryKey(35), entryKey(60), entryKey(61), entryKey(75)} {
			t.Run(fmt.Sprintf("%q", key), func(t *testing.T) {
				t.Parallel()
				damageRecord(t, v, count, key)
			})
		}
	})
	t.Logf("%d cases: %d logs opened whole, %d with what was durable and a part of the rest, %d were refused",
		count.cases(), count.whole.Load(), count.prefix.Load(), count.refused.Load())
	if wholeDisk && count.cases() < wantCases {
		t.Errorf("%d cases, want %d", count.cases(), wantCases)
	}
}

func damageFile(t *testing.T, v victim, count *tally, name string) {
	// The engine's settings: nothing of the log is in there.
	settings := strings.HasPrefix(path.Base(name), "OPTIONS")
	if settings && !v.each {
		return
	}
	data := readFile(t, v.disk, name)
	mine := &tally{}
	v.open(t, mine, "gone", func(fs vfs.FS) {
		if err := fs.Remove(name); err != nil {
			t.Fatal(err)
		}
	})
	damages(data, v.each && !settings, func(what string, changed []byte) {
		v.open(t, mine, what, func(fs vfs.FS) { writeFile(t, fs, name, changed) })
	})
	ext, refused := path.Ext(name), mine.refused.Load()
	if (ext == ".sst" || ext == ".log" && v.least == len(v.want.Entries)) && refused < mine.cases()/2 {
		t.Errorf("%d of %d kinds of damage were refused: does the test reach the records?", refused, mine.cases())
	}
	add(count, mine)
}

func add(count, mine *tally) {
	count.whole.Add(mine.whole.Load())
	count.prefix.Add(mine.prefix.Load())
	count.refused.Add(mine.refused.Load())
}

// damageRecord changes a record through the engine, so that all of its checksums
// fit: ours must tell.
func damageRecord(t *testing.T, v victim, count *tally, key []byte) {
	change := func(fs vfs.FS, do func(*pebble.DB) error) {
		db, err := pebble.Open(path.Join(testDir, "pebble"), &pebble.Options{FS: fs, Logger: Quiet(silent, func(string) {})})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(do(db), db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	var data []byte
	copied := v.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newMemDisk(0).rng})
	change(copied, func(db *pebble.DB) error {
		value, closer, err := db.Get(key)
		if err != nil {
			return err
		}
		data = bytes.Clone(value)
		return closer.Close()
	})
	mine := &tally{}
	damages(data, v.each, func(what string, changed []byte) {
		v.open(t, mine, what, func(fs vfs.FS) {
			change(fs, func(db *pebble.DB) error { return db.Set(key, changed, pebble.Sync) })
		})
	})
	if mine.refused.Load() != mine.cases() {
		t.Errorf("%d of %d changed records were refused", mine.refused.Load(), mine.cases())
	}
	add(count, mine)
}

func sealedHard(t testing.TB, hard *raftpb.HardState) []byte {
	t.Helper()
	encoded, err := proto.Marshal(hard)
	if err != nil {
		t.Fatal(err)
	}
	return seal(chain{}, encoded)
}
