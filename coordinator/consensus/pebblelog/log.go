// Package pebblelog keeps a replica's log in Pebble, and knows when it cannot
// be trusted.
//
// Every entry carries its index and the hash of the entry before, so that they
// form a chain; snapshot and hard state carry hashes of their own. After each durable batch, the index, the chain's
// hash, the term and the vote are written to a second small file, the synced
// extent. On opening, the whole chain up to the extent must be there, and no
// older vote: anything missing or changed below it makes the log untrusted, and
// this replica never votes again under its ID (SAFETY, rule 7). What lies
// beyond the extent was never acknowledged.
package pebblelog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	cacheBytes    = 1 << 20
	memtableBytes = 4 << 20
	chainBytes    = 16
)

// Keys of the records.
var (
	hardKey     = []byte("h")
	snapshotKey = []byte("s")
	entryPrefix = byte('e')
)

type chain [chainBytes]byte

// Log implements consensus.Log. Reads are served from memory: it holds the
// entries since the last snapshot but a bounded rest.
type Log struct {
	*raft.MemoryStorage

	damage damage
	fs     vfs.FS
	dir    string

	mu sync.Mutex
	// failed is the first write that did: what the disk holds now is not known, and
	// nothing is tried again.
	failed error
	db     *pebble.DB
	extent *extentFile
	// chains holds the hash of each entry from first-1 on.
	first  uint64
	chains []chain
}

// Open opens the log in dir, or begins an empty one. An error that wraps
// ErrUntrusted means that the log must not be used any more.
func Open(fs vfs.FS, dir string, logger *slog.Logger) (*Log, error) {
	if err := MakeDir(fs, dir); err != nil {
		return nil, err
	}
	if err := checkFailed(fs, dir); err != nil {
		return nil, err
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	l := &Log{MemoryStorage: raft.NewMemoryStorage(), fs: fs, dir: dir}
	db, err := pebble.Open(fs.PathJoin(dir, "pebble"), &pebble.Options{
		FS:            fs,
		Cache:         cache,
		MemTableSize:  memtableBytes,
		Logger:        Quiet(logger, l.Fail),
		EventListener: l.damage.listener(),
	})
	if err != nil {
		return nil, openError(err)
	}
	l.db = db
	if err := l.load(fs, dir); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// MakeDir makes the directory durably, and those above it that are missing: a
// power cut must not take the log away with the name of its directory.
func MakeDir(fs vfs.FS, dir string) error {
	existing := fs.PathDir(dir)
	for {
		_, err := fs.Stat(existing)
		if err == nil || existing == fs.PathDir(existing) {
			break
		}
		existing = fs.PathDir(existing)
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for dir != existing {
		dir = fs.PathDir(dir)
		if err := syncDir(fs, dir); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) load(fs vfs.FS, dir string) error {
	snapshotChain, err := l.loadSnapshot()
	if err != nil {
		return err
	}
	if err := l.loadEntries(snapshotChain); err != nil {
		return err
	}
	if err := l.loadHard(); err != nil {
		return err
	}
	l.extent, err = openExtent(fs, fs.PathJoin(dir, "extent"), l.last() == 0)
	if err != nil {
		return err
	}
	return l.checkExtent()
}

func (l *Log) loadSnapshot() (chain, error) {
	value, err := l.get(snapshotKey)
	if err != nil || value == nil {
		l.first, l.chains = 1, []chain{{}}
		return chain{}, err
	}
	if len(value) < chainBytes {
		return chain{}, fmt.Errorf("%w: the snapshot is cut off", ErrUntrusted)
	}
	at := chain(value[:chainBytes])
	encoded, ok := unseal(at, value[chainBytes:])
	if !ok {
		return chain{}, fmt.Errorf("%w: the snapshot has changed since it was written", ErrUntrusted)
	}
	snapshot := &raftpb.Snapshot{}
	if err := proto.Unmarshal(encoded, snapshot); err != nil {
		return chain{}, fmt.Errorf("%w: the snapshot does not parse: %w", ErrUntrusted, err)
	}
	if err := l.ApplySnapshot(snapshot); err != nil {
		return chain{}, err
	}
	l.first, l.chains = snapshot.GetMetadata().GetIndex()+1, []chain{at}
	return at, nil
}

// loadEntries reads the entries after the snapshot and checks their chain.
// Entries at or before the snapshot are only kept for slow followers; after a
// restart those get the snapshot instead.
func (l *Log) loadEntries(before chain) error {
	iterator, err := l.db.NewIter(&pebble.IterOptions{LowerBound: entryKey(l.first), UpperBound: []byte{entryPrefix + 1}})
	if err != nil {
		return openError(err)
	}
	var entries []*raftpb.Entry
	next := l.first
	for valid := iterator.First(); valid; valid = iterator.Next() {
		entry, at, err := decodeEntry(iterator.Value(), next, before)
		if err != nil {
			return errors.Join(err, iterator.Close())
		}
		entries = append(entries, entry)
		l.chains = append(l.chains, at)
		before = at
		next++
	}
	if err := errors.Join(iterator.Error(), iterator.Close()); err != nil {
		return openError(err)
	}
	return l.MemoryStorage.Append(entries)
}

func (l *Log) loadHard() error {
	value, err := l.get(hardKey)
	if err != nil || value == nil {
		return err
	}
	encoded, ok := unseal(chain{}, value)
	if !ok {
		return fmt.Errorf("%w: the hard state has changed since it was written", ErrUntrusted)
	}
	hard := &raftpb.HardState{}
	if err := proto.Unmarshal(encoded, hard); err != nil {
		return fmt.Errorf("%w: the hard state does not parse: %w", ErrUntrusted, err)
	}
	if hard.GetCommit() > l.last() {
		return fmt.Errorf("%w: entries up to %d were committed, the last one here is %d", ErrUntrusted, hard.GetCommit(), l.last())
	}
	return l.SetHardState(hard)
}

// checkExtent holds what is here against what is known to have been durable.
func (l *Log) checkExtent() error {
	index, at := l.extent.index, l.extent.chain
	if index > l.last() {
		return fmt.Errorf("%w: entries up to %d were durable, the last one here is %d", ErrUntrusted, index, l.last())
	}
	if index >= l.first-1 && l.chainAt(index) != at {
		return fmt.Errorf("%w: entry %d is not the one that was durable", ErrUntrusted, index)
	}
	hard, _, err := l.InitialState()
	if err != nil {
		return err
	}
	term, vote := l.extent.term, l.extent.vote
	if hard.GetTerm() < term || (hard.GetTerm() == term && vote != 0 && hard.GetVote() != vote) {
		return fmt.Errorf("%w: a vote for %d in term %d was durable, here is one for %d in term %d",
			ErrUntrusted, vote, term, hard.GetVote(), hard.GetTerm())
	}
	return nil
}

func (l *Log) get(key []byte) ([]byte, error) {
	value, closer, err := l.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, openError(err)
	}
	copied := append([]byte(nil), value...)
	return copied, closer.Close()
}

// last index of the log.
func (l *Log) last() uint64 { return l.first + uint64(len(l.chains)) - 2 }

func (l *Log) chainAt(index uint64) chain { return l.chains[index-(l.first-1)] }

// SyncedExtent is the last index that is known to be durable.
func (l *Log) SyncedExtent() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.extent.index
}

// Append implements consensus.Log.
func (l *Log) Append(snapshot *raftpb.Snapshot, entries []*raftpb.Entry, hard *raftpb.HardState, sync bool) error {
	return l.write(func() error { return l.append(snapshot, entries, hard, sync) })
}

// write does what changes the disk, unless something went wrong before.
func (l *Log) write(do func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.damage.err(); err != nil {
		return err
	}
	if l.failed != nil {
		return fmt.Errorf("a write failed before, and this log takes no other: %w", l.failed)
	}
	if l.failed = do(); l.failed != nil {
		l.Fail(l.failed.Error())
	}
	return l.failed
}

// Fail makes the next process refuse this log.
func (l *Log) Fail(why string) { keepFailed(l.fs, l.dir, why) }

func (l *Log) append(snapshot *raftpb.Snapshot, entries []*raftpb.Entry, hard *raftpb.HardState, sync bool) error {
	batch := l.db.NewBatch()
	defer func() { _ = batch.Close() }() // frees memory only
	if snapshot != nil {
		if err := l.replaceAll(batch, snapshot); err != nil {
			return err
		}
	}
	if err := l.appendEntries(batch, entries); err != nil {
		return err
	}
	if hard != nil {
		encoded, err := proto.Marshal(hard)
		if err != nil {
			return err
		}
		if err := batch.Set(hardKey, seal(chain{}, encoded), nil); err != nil {
			return err
		}
	}
	if err := batch.Commit(&pebble.WriteOptions{Sync: sync}); err != nil {
		return err
	}
	if err := l.remember(snapshot, entries, hard); err != nil {
		return err
	}
	if !sync {
		return nil
	}
	return l.writeExtent()
}

func (l *Log) writeExtent() error {
	now, _, err := l.InitialState()
	if err != nil {
		return err
	}
	return l.extent.write(mark{index: l.last(), chain: l.chainAt(l.last()), term: now.GetTerm(), vote: now.GetVote()})
}

// replaceAll puts a received snapshot in place of everything. Its chain begins
// anew: the entries before it were never here.
func (l *Log) replaceAll(batch *pebble.Batch, snapshot *raftpb.Snapshot) error {
	index := snapshot.GetMetadata().GetIndex()
	at := beginning(index, snapshot.GetMetadata().GetTerm())
	// What was durable until now is about to be dropped.
	if err := l.extent.lower(0, chain{}); err != nil {
		return err
	}
	value, err := encodeSnapshot(snapshot, at)
	if err != nil {
		return err
	}
	if err := batch.Set(snapshotKey, value, nil); err != nil {
		return err
	}
	l.first, l.chains = index+1, []chain{at}
	return batch.DeleteRange([]byte{entryPrefix}, []byte{entryPrefix + 1}, nil)
}

func (l *Log) appendEntries(batch *pebble.Batch, entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	from := entries[0].GetIndex()
	if from < l.first || from > l.last()+1 {
		return fmt.Errorf("entry %d does not continue a log of %d to %d", from, l.first, l.last())
	}
	if from <= l.extent.index {
		// A new leader replaces entries that were durable here, but never
		// acknowledged: say so before they go.
		if err := l.extent.lower(from-1, l.chainAt(from-1)); err != nil {
			return err
		}
	}
	if from <= l.last() {
		if err := batch.DeleteRange(entryKey(from), []byte{entryPrefix + 1}, nil); err != nil {
			return err
		}
		l.chains = l.chains[:from-(l.first-1)]
	}
	for _, entry := range entries {
		value, at, err := encodeEntry(entry, l.chains[len(l.chains)-1])
		if err != nil {
			return err
		}
		if err := batch.Set(entryKey(entry.GetIndex()), value, nil); err != nil {
			return err
		}
		l.chains = append(l.chains, at)
	}
	return nil
}

// remember brings memory up to what is stored.
func (l *Log) remember(snapshot *raftpb.Snapshot, entries []*raftpb.Entry, hard *raftpb.HardState) error {
	if snapshot != nil {
		if err := l.ApplySnapshot(snapshot); err != nil {
			return err
		}
	}
	if err := l.MemoryStorage.Append(entries); err != nil {
		return err
	}
	if hard != nil {
		return l.SetHardState(hard)
	}
	return nil
}

// Compact implements consensus.Log.
func (l *Log) Compact(snapshot *raftpb.Snapshot, index uint64) error {
	return l.write(func() error { return l.compact(snapshot, index) })
}

func (l *Log) compact(snapshot *raftpb.Snapshot, index uint64) error {
	at := snapshot.GetMetadata().GetIndex()
	value, err := encodeSnapshot(snapshot, l.chainAt(at))
	if err != nil {
		return err
	}
	batch := l.db.NewBatch()
	defer func() { _ = batch.Close() }() // frees memory only
	if err := batch.Set(snapshotKey, value, nil); err != nil {
		return err
	}
	if err := batch.DeleteRange([]byte{entryPrefix}, entryKey(index+1), nil); err != nil {
		return err
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		return err
	}
	if _, err := l.CreateSnapshot(at, snapshot.GetMetadata().GetConfState(), snapshot.GetData()); err != nil {
		return err
	}
	if index < l.first {
		return nil
	}
	if err := l.MemoryStorage.Compact(index); err != nil {
		return err
	}
	l.chains = append([]chain(nil), l.chains[index-(l.first-1):]...)
	l.first = index + 1
	return nil
}

// Close closes the log; the replica must have ended.
func (l *Log) Close() error {
	err := l.db.Close()
	if l.extent != nil {
		err = errors.Join(err, l.extent.close())
	}
	return err
}

func entryKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{entryPrefix}, index)
}

// encodeEntry is index, chain hash, entry; the hash covers the one before.
func encodeEntry(entry *raftpb.Entry, before chain) ([]byte, chain, error) {
	encoded, err := proto.Marshal(entry)
	if err != nil {
		return nil, chain{}, err
	}
	at := link(before, entry.GetIndex(), encoded)
	value := make([]byte, 0, 8+chainBytes+len(encoded))
	value = binary.BigEndian.AppendUint64(value, entry.GetIndex())
	value = append(value, at[:]...)
	return append(value, encoded...), at, nil
}

func decodeEntry(value []byte, index uint64, before chain) (*raftpb.Entry, chain, error) {
	if len(value) < 8+chainBytes || binary.BigEndian.Uint64(value) != index {
		return nil, chain{}, fmt.Errorf("%w: entry %d is missing", ErrUntrusted, index)
	}
	at := chain(value[8 : 8+chainBytes])
	encoded := value[8+chainBytes:]
	if link(before, index, encoded) != at {
		return nil, chain{}, fmt.Errorf("%w: entry %d has changed since it was written", ErrUntrusted, index)
	}
	entry := &raftpb.Entry{}
	if err := proto.Unmarshal(encoded, entry); err != nil {
		return nil, chain{}, fmt.Errorf("%w: entry %d does not parse: %w", ErrUntrusted, index, err)
	}
	return entry, at, nil
}

// encodeSnapshot is the chain's hash at it, and the snapshot under its own.
func encodeSnapshot(snapshot *raftpb.Snapshot, at chain) ([]byte, error) {
	encoded, err := proto.Marshal(snapshot)
	if err != nil {
		return nil, err
	}
	return append(at[:], seal(at, encoded)...), nil
}

// seal puts a hash before a record that is no link of the chain.
func seal(at chain, encoded []byte) []byte {
	sum := link(at, 0, encoded)
	return append(sum[:], encoded...)
}

// unseal returns the record; false when it is another one than was sealed.
func unseal(at chain, value []byte) ([]byte, bool) {
	if len(value) < chainBytes {
		return nil, false
	}
	encoded := value[chainBytes:]
	return encoded, link(at, 0, encoded) == chain(value[:chainBytes])
}

func link(before chain, index uint64, encoded []byte) chain {
	h := sha256.New()
	h.Write(before[:])
	h.Write(binary.BigEndian.AppendUint64(nil, index))
	h.Write(encoded)
	return chain(h.Sum(nil)[:chainBytes])
}

// beginning of a chain at a received snapshot.
func beginning(index, term uint64) chain {
	return link(chain{}, index, binary.BigEndian.AppendUint64(nil, term))
}
