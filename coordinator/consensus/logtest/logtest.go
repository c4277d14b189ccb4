// Package logtest is what every log of a replica must do: the one on disk and
// the simulator's in memory pass the same suite, so that what is found out
// over the one holds for the other (SAFETY, rule 25).
package logtest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"skerry.dev/coordinator/consensus"
)

// Disk holds one log, empty at first.
type Disk interface {
	// Open opens the log, which is not open.
	Open(t testing.TB) consensus.Log
	// Crash ends the log that is open: what is not durable may be lost.
	Crash(t testing.TB)
}

// Run runs the suite. newDisk makes a disk whose log is empty.
func Run(t *testing.T, newDisk func(testing.TB) Disk) {
	for _, test := range []struct {
		name string
		run  func(testing.TB, Disk)
	}{
		{"a new log is empty", isEmpty},
		{"entries read back as they were appended", readsBack},
		{"a read is bounded but gives one entry at least", boundsReads},
		{"entries of a new leader replace all that follow", replaces},
		{"a received snapshot replaces everything before it", takesSnapshot},
		{"a snapshot and the entries after it are one batch", takesSnapshotWithEntries},
		{"a compaction keeps the entries after its index", compacts},
		{"a compaction before the first entry only keeps the snapshot", compactsNothing},
		{"an orderly end loses nothing", survivesClose},
		{"what was synced survives a crash", survivesCrash},
		{"a compaction survives a crash, and what was appended before it", survivesCrashAfterCompact},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newDisk(t)) })
	}
	t.Run("a crash loses whole batches, the last ones, and no synced one", func(t *testing.T) { losesOnlyTheTail(t, newDisk) })
}

// entry n of a term, with something in it.
func entry(index, term uint64) *raftpb.Entry {
	return &raftpb.Entry{
		Index: new(index), Term: new(term), Type: raftpb.EntryNormal.Enum(),
		Data: []byte{byte(index), byte(term), 'x', 'y'},
	}
}

// entries from one index to another, both included.
func entries(from, to, term uint64) []*raftpb.Entry {
	var all []*raftpb.Entry
	for index := from; index <= to; index++ {
		all = append(all, entry(index, term))
	}
	return all
}

func hardState(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

func snapshot(index, term uint64) *raftpb.Snapshot {
	return &raftpb.Snapshot{
		Data: []byte{'s', byte(index)},
		Metadata: &raftpb.SnapshotMetadata{
			Index: new(index), Term: new(term), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}},
		},
	}
}

func appendTo(t testing.TB, log consensus.Log, s *raftpb.Snapshot, all []*raftpb.Entry, hard *raftpb.HardState, sync bool) {
	t.Helper()
	if err := log.Append(s, all, hard, sync); err != nil {
		t.Fatalf("append: %v", err)
	}
}

func compact(t testing.TB, log consensus.Log, s *raftpb.Snapshot, index uint64) {
	t.Helper()
	if err := log.Compact(s, index); err != nil {
		t.Fatalf("compact: %v", err)
	}
}

func equal(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// span checks the first and the last index.
func span(t testing.TB, log consensus.Log, first, last uint64) {
	t.Helper()
	gotFirst, err := log.FirstIndex()
	if err != nil {
		t.Fatal(err)
	}
	gotLast, err := log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	if gotFirst != first || gotLast != last {
		t.Fatalf("the log holds %d to %d, want %d to %d", gotFirst, gotLast, first, last)
	}
}

func termOf(t testing.TB, log consensus.Log, index, want uint64) {
	t.Helper()
	term, err := log.Term(index)
	if err != nil {
		t.Fatalf("the term of %d: %v", index, err)
	}
	if term != want {
		t.Fatalf("the term of %d is %d, want %d", index, term, want)
	}
}

func refused(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// read gives the entries from one index to another, both included.
func read(t testing.TB, log consensus.Log, from, to uint64) []*raftpb.Entry {
	t.Helper()
	if from > to {
		return nil
	}
	all, err := log.Entries(from, to+1, 1<<30)
	if err != nil {
		t.Fatalf("entries %d to %d: %v", from, to, err)
	}
	return all
}

func isEmpty(t testing.TB, disk Disk) {
	log := disk.Open(t)
	defer end(t, log)
	span(t, log, 1, 0)
	termOf(t, log, 0, 0)
	hard, conf, err := log.InitialState()
	if err != nil {
		t.Fatal(err)
	}
	if !raft.IsEmptyHardState(hard) || len(conf.GetVoters()) != 0 {
		t.Errorf("a new log begins with %v and %v", hard, conf)
	}
	s, err := log.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if !raft.IsEmptySnap(s) {
		t.Errorf("a new log begins with the snapshot %v", s)
	}
}

func readsBack(t testing.TB, disk Disk) {
	log := disk.Open(t)
	defer end(t, log)
	appendTo(t, log, nil, entries(1, 3, 1), hardState(1, 2, 0), true)
	appendTo(t, log, nil, entries(4, 5, 2), nil, true)
	appendTo(t, log, nil, nil, hardState(2, 0, 4), false)
	span(t, log, 1, 5)
	equal(t, "the entries", plain(append(entries(1, 3, 1), entries(4, 5, 2)...)), plain(read(t, log, 1, 5)))
	equal(t, "a part of them", plain(append(entries(3, 3, 1), entry(4, 2))), plain(read(t, log, 3, 4)))
	termOf(t, log, 3, 1)
	termOf(t, log, 4, 2)
	_, err := log.Term(6)
	refused(t, "the term of an entry that is not there", err, raft.ErrUnavailable)
	hard, _, err := log.InitialState()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the hard state", plainHard{2, 0, 4}, plainHard{hard.GetTerm(), hard.GetVote(), hard.GetCommit()})
}

func boundsReads(t testing.TB, disk Disk) {
	log := disk.Open(t)
	defer end(t, log)
	appendTo(t, log, nil, entries(1, 9, 1), nil, true)
	one, err := log.Entries(2, 10, 0)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "a read of no bytes", plain(entries(2, 2, 1)), plain(one))
	some, err := log.Entries(2, 10, 50)
	if err != nil {
		t.Fatal(err)
	}
	if len(some) < 2 || len(some) > 7 {
		t.Errorf("a read of 50 bytes gives %d entries", len(some))
	}
}

func replaces(t testing.TB, disk Disk) {
	log := disk.Open(t)
	defer end(t, log)
	appendTo(t, log, nil, entries(1, 6, 1), nil, true)
	held := read(t, log, 1, 6)
	appendTo(t, log, nil, entries(4, 4, 2), nil, true)
	span(t, log, 1, 4)
	equal(t, "the entries", plain(append(entries(1, 3, 1), entry(4, 2))), plain(read(t, log, 1, 4)))
	equal(t, "those that raft still holds", plain(entries(1, 6, 1)), plain(held))
	appendTo(t, log, nil, entries(1, 2, 3), nil, true)
	equal(t, "the entries, replaced from the first one", plain(entries(1, 2, 3)), plain(read(t, log, 1, 2)))
	span(t, log, 1, 2)
}

func takesSnapshot(t testing.TB, disk Disk) {
	log := disk.Open(t)
	defer end(t, log)
	appendTo(t, log, nil, entries(1, 6, 1), hardState(1, 0, 3), true)
	appendTo(t, log, snapshot(20, 4), nil, hardState(4, 0, 20), true)
	span(t, log, 21, 20)
	termOf(t, log, 20, 4)
	_, err := log.Entries(20, 21, 1<<20)
	refused(t, "an entry that the snapshot replaced", err, raft.ErrCompacted)
	_, err = log.Term(6)
	refused(t, "the term of an entry that the snapshot replaced", err, raft.ErrCompacted)
	_, conf, err := log.InitialState()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the voters", []uint64{1, 2, 3}, conf.GetVoters())
	appendTo(t, log, nil, entries(21, 22, 4), nil, true)
	equal(t, "the entries after the snapshot", plain(entries(21, 22, 4)), plain(read(t, log, 21, 22)))
}

func takesSnapshotWithEntries(t testing.TB, disk Disk) {
	log := disk.Open(t)
	appendTo(t, log, nil, entries(1, 6, 1), hardState(1, 0, 3), true)
	appendTo(t, log, snapshot(4, 1), entries(5, 9, 2), hardState(2, 1, 5), true)
	want := contents(t, log)
	equal(t, "the entries", plain(entries(5, 9, 2)), want.Entries)
	equal(t, "the snapshot", plainOf(snapshot(4, 1)), want.Snapshot)
	log = crash(t, disk)
	defer end(t, log)
	equal(t, "the log after a crash", want, contents(t, log))
}

func compacts(t testing.TB, disk Disk) {
	log := disk.Open(t)
	defer end(t, log)
	appendTo(t, log, nil, entries(1, 10, 1), hardState(1, 0, 8), true)
	compact(t, log, snapshot(8, 1), 5)
	span(t, log, 6, 10)
	equal(t, "the entries", plain(entries(6, 10, 1)), plain(read(t, log, 6, 10)))
	termOf(t, log, 5, 1)
	_, err := log.Entries(5, 7, 1<<20)
	refused(t, "an entry that was dropped", err, raft.ErrCompacted)
	s, err := log.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "the snapshot", plainOf(snapshot(8, 1)), plainOf(s))
	appendTo(t, log, nil, entries(11, 12, 1), hardState(1, 0, 12), true)
	compact(t, log, snapshot(12, 1), 12)
	span(t, log, 13, 12)
	termOf(t, log, 12, 1)
}

func compactsNothing(t testing.TB, disk Disk) {
	log := disk.Open(t)
	appendTo(t, log, snapshot(20, 1), entries(21, 25, 1), hardState(1, 0, 23), true)
	compact(t, log, snapshot(23, 1), 19)
	span(t, log, 21, 25)
	want := contents(t, log)
	equal(t, "the snapshot", plainOf(snapshot(23, 1)), want.Snapshot)
	log = crash(t, disk)
	defer end(t, log)
	equal(t, "the log after a crash", want, contents(t, log))
}

func survivesClose(t testing.TB, disk Disk) {
	log := disk.Open(t)
	appendTo(t, log, nil, entries(1, 10, 1), hardState(1, 0, 4), true)
	appendTo(t, log, nil, nil, hardState(1, 0, 9), false)
	compact(t, log, snapshot(9, 1), 2)
	appendTo(t, log, nil, nil, hardState(1, 0, 10), false)
	want := contents(t, log)
	end(t, log)
	log = disk.Open(t)
	defer end(t, log)
	equal(t, "the log", want, contents(t, log))
	termOf(t, log, 9, 1)
}

func survivesCrash(t testing.TB, disk Disk) {
	log := disk.Open(t)
	appendTo(t, log, nil, entries(1, 10, 1), hardState(1, 3, 4), true)
	appendTo(t, log, nil, entries(8, 9, 2), hardState(2, 1, 7), true)
	want := contents(t, log)
	for range 3 {
		log = crash(t, disk)
		equal(t, "the log", want, contents(t, log))
	}
	appendTo(t, log, nil, entries(9, 12, 3), hardState(3, 1, 8), true)
	want = contents(t, log)
	log = crash(t, disk)
	defer end(t, log)
	equal(t, "the log, continued after a crash", want, contents(t, log))
}

func survivesCrashAfterCompact(t testing.TB, disk Disk) {
	log := disk.Open(t)
	appendTo(t, log, nil, entries(1, 10, 1), hardState(1, 0, 4), true)
	appendTo(t, log, nil, nil, hardState(1, 0, 9), false)
	compact(t, log, snapshot(9, 1), 6)
	want := contents(t, log)
	log = crash(t, disk)
	defer end(t, log)
	equal(t, "the log", want, contents(t, log))
}

func end(t testing.TB, log consensus.Log) {
	t.Helper()
	if err := log.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// crash ends the log and opens it again.
func crash(t testing.TB, disk Disk) consensus.Log {
	t.Helper()
	disk.Crash(t)
	return disk.Open(t)
}
