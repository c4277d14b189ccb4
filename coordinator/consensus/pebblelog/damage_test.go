package pebblelog

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
)

// held is what a log holds after its snapshot.
type held struct {
	Snapshot   string
	Entries    []string
	Term, Vote uint64
}

func contents(t testing.TB, log *Log) held {
	t.Helper()
	snapshot, err := log.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	hard, _, err := log.InitialState()
	if err != nil {
		t.Fatal(err)
	}
	h := held{Snapshot: string(snapshot.GetData()), Term: hard.GetTerm(), Vote: hard.GetVote()}
	from, to := snapshot.GetMetadata().GetIndex()+1, log.last()
	if from > to {
		return h
	}
	entries, err := log.Entries(from, to+1, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		h.Entries = append(h.Entries, fmt.Sprintf("%d/%d %s", entry.GetIndex(), entry.GetTerm(), entry.GetData()))
	}
	return h
}

func testEntries(from, to, term uint64) []*raftpb.Entry {
	var all []*raftpb.Entry
	for index := from; index <= to; index++ {
		data := fmt.Appendf(nil, "%d %s", index, strings.Repeat("x", int(index*7%200)))
		all = append(all, &raftpb.Entry{Index: new(index), Term: new(term), Type: raftpb.EntryNormal.Enum(), Data: data})
	}
	return all
}

func testHard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

func testSnapshot(index, term uint64) *raftpb.Snapshot {
	return &raftpb.Snapshot{
		Data:     fmt.Appendf(nil, "state at %d", index),
		Metadata: &raftpb.SnapshotMetadata{Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}},
	}
}

// lived is a disk with a log that has a past: records in tables and in the
// write-ahead log, a compaction, entries that a new leader replaced. It was
// closed in order, so that all of it is below the synced extent.
func lived(t testing.TB) (*vfs.MemFS, held) {
	t.Helper()
	disk := newMemDisk(100)
	run := func(steps ...func(*Log) error) held {
		disk.Open(t)
		for _, step := range steps {
			if err := step(disk.open); err != nil {
				t.Fatal(err)
			}
		}
		h := contents(t, disk.open)
		if got := disk.open.SyncedExtent(); got != disk.open.last() {
			t.Fatalf("the synced extent is %d of %d", got, disk.open.last())
		}
		if err := disk.open.Close(); err != nil {
			t.Fatal(err)
		}
		return h
	}
	run(
		func(l *Log) error { return l.Append(nil, testEntries(1, 40, 1), testHard(1, 1, 30), true) },
		func(l *Log) error { return l.Append(nil, testEntries(35, 60, 2), testHard(2, 3, 60), true) },
		func(l *Log) error { return l.Compact(testSnapshot(20, 1), 10) },
	)
	h := run(
		func(l *Log) error { return l.Append(nil, testEntries(61, 70, 2), nil, true) },
		func(l *Log) error { return l.Append(nil, testEntries(71, 75, 3), testHard(3, 2, 70), true) },
		func(l *Log) error { return l.Append(nil, nil, testHard(4, 1, 70), true) },
	)
	return disk.fs, h
}

// files of the log, the engine's lock aside: it is empty.
func files(t testing.TB, fs vfs.FS) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{testDir, path.Join(testDir, "pebble")} {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name != "pebble" && name != "LOCK" {
				all = append(all, path.Join(dir, name))
			}
		}
	}
	slices.Sort(all)
	return all
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, fs vfs.FS, name string, data []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestChangedRecordsAreRefused changes records through the engine, so that all
// of its checksums fit: the chain, the extent and the vote must tell.
func TestChangedRecordsAreRefused(t *testing.T) {
	set := func(key, value []byte) func(*pebble.DB) error {
		return func(db *pebble.DB) error { return db.Set(key, value, pebble.Sync) }
	}
	remove := func(key []byte) func(*pebble.DB) error {
		return func(db *pebble.DB) error { return db.Delete(key, pebble.Sync) }
	}
	hard := func(term, vote, commit uint64) []byte {
		return sealedHard(t, testHard(term, vote, commit))
	}
	other, _, err := encodeEntry(testEntries(50, 50, 9)[0], chain{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*pebble.DB) error
	}{
		{"an entry in the middle is another one", set(entryKey(50), other)},
		{"an entry in the middle is gone", remove(entryKey(50))},
		{"an entry is at another's place", set(entryKey(51), other)},
		{"the first entry is gone", remove(entryKey(21))},
		{"the last entry is gone", remove(entryKey(75))},
		{"an entry is cut off", set(entryKey(50), other[:20])},
		{"all entries are gone", func(db *pebble.DB) error {
			return db.DeleteRange(entryKey(0), []byte{entryPrefix + 1}, pebble.Sync)
		}},
		{"the vote is for another one", set(hardKey, hard(4, 2, 70))},
		{"the vote is taken back", set(hardKey, hard(4, 0, 70))},
		{"the term is an older one", set(hardKey, hard(3, 1, 70))},
		{"the vote is gone", remove(hardKey)},
		{"the vote is cut off", set(hardKey, hard(4, 1, 70)[:9])},
		{"the vote does not parse", set(hardKey, seal(chain{}, []byte{0xFF}))},
		{"more was committed than is there", set(hardKey, hard(4, 1, 76))},
		{"the snapshot is gone", remove(snapshotKey)},
		{"the snapshot is cut off", set(snapshotKey, []byte("short"))},
		{"the snapshot does not parse", set(snapshotKey, append(make([]byte, chainBytes), seal(chain{}, []byte{0xFF})...))},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs, _ := lived(t)
			db, err := pebble.Open(path.Join(testDir, "pebble"), &pebble.Options{FS: fs, Logger: Quiet(silent, func(string) {})})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(test.change(db), db.Close()); err != nil {
				t.Fatal(err)
			}
			log, err := Open(fs, testDir, silent)
			if err == nil {
				_ = log.Close() // the test has failed
			}
			if !errors.Is(err, ErrUntrusted) {
				t.Errorf("error %v, want one that names the log untrusted", err)
			}
		})
	}
}

// TestLaterVotesAreAccepted: the extent is a lower bound.
func TestLaterVotesAreAccepted(t *testing.T) {
	for _, test := range []struct {
		name string
		now  *raftpb.HardState
	}{
		{"the first vote of the term", testHard(4, 3, 5)},
		{"a later term", testHard(5, 0, 5)},
		{"a later term and a vote for another one", testHard(6, 2, 5)},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := newMemDisk(100)
			disk.Open(t)
			if err := disk.open.Append(nil, testEntries(1, 9, 4), testHard(4, 0, 5), true); err != nil {
				t.Fatal(err)
			}
			extent := readFile(t, disk.fs, path.Join(testDir, "extent"))
			if err := disk.open.Append(nil, nil, test.now, true); err != nil {
				t.Fatal(err)
			}
			want := contents(t, disk.open)
			disk.Crash(t)
			writeFile(t, disk.fs, path.Join(testDir, "extent"), extent)
			disk.Open(t)
			if diff := cmp.Diff(want, contents(t, disk.open)); diff != "" {
				t.Errorf("the log (-want +got):\n%s", diff)
			}
			if err := disk.open.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
