// Package leafstore keeps the leaves of the audit log on the disk of a voter,
// in Pebble, each with the hashes that it completes.
//
// What Append stores is durable after Sync, which comes before the replicated
// log forgets the entries: until then they are applied again after a crash, and
// the same leaves come once more.
package leafstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/mod/sumdb/tlog"

	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/consensus/pebblelog"
	"skerry.dev/shared/problem"
)

const (
	cacheBytes = 1 << 20
	// memtableBytes: a smaller one is flushed so often that its fsyncs are felt by
	// those of the log.
	memtableBytes = 4 << 20
)

// Keys of the records: leaves by number, the mark, the edge before the first.
const leafPrefix = byte('l')

var (
	markKey = []byte("m")
	edgeKey = []byte("e")
)

// Store holds the leaves from first up to, not including, through without gap;
// beyond that there may be more, after leaves that this voter never had.
type Store struct {
	db    *pebble.DB
	fs    vfs.FS
	dir   string
	aside string
	// found holds the damage that the engine came upon by itself.
	found chan pebble.DataCorruptionInfo

	mu             sync.RWMutex
	first, through uint64
	// newest is one more than the highest number.
	newest uint64
	edge   audit.Frontier
	// differed is the first leaf that was another one on the disk.
	differed string
}

// openStore refuses one that is damaged.
func openStore(fs vfs.FS, dir string, logger *slog.Logger, fatal func(why string)) (*Store, error) {
	if err := pebblelog.MakeDir(fs, dir); err != nil {
		return nil, err
	}
	if isCondemned(fs, dir) {
		return nil, ErrDamaged
	}
	s := &Store{fs: fs, dir: dir, found: make(chan pebble.DataCorruptionInfo, 1)}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{
		FS: fs, Cache: cache, MemTableSize: memtableBytes, Logger: pebblelog.Quiet(logger, fatal), EventListener: s.listener(),
	})
	if err != nil {
		return nil, problem.New(problem.Internal, dir, "the audit log's leaves cannot be opened: %w", judged(err)).
			WithHint("is the disk in order? dmesg tells")
	}
	s.db = db
	if err := s.load(); err != nil {
		return nil, errors.Join(judged(err), db.Close())
	}
	return s, nil
}

func (s *Store) load() error {
	mark, err := s.get(markKey)
	if err != nil {
		return err
	}
	if len(mark) == 16 {
		s.first, s.through = binary.BigEndian.Uint64(mark), binary.BigEndian.Uint64(mark[8:])
	}
	edge, err := s.get(edgeKey)
	if err != nil {
		return err
	}
	var hashes [][]byte
	for ; len(edge) >= tlog.HashSize; edge = edge[tlog.HashSize:] {
		hashes = append(hashes, edge[:tlog.HashSize])
	}
	if s.edge, err = audit.FrontierOf(s.first, hashes); err != nil {
		return fmt.Errorf("%w: the archived part: %w", ErrDamaged, err)
	}
	s.newest = s.through
	return s.advance()
}

// advance moves through over the leaves that are there.
func (s *Store) advance() error {
	iterator, err := s.db.NewIter(&pebble.IterOptions{LowerBound: leafKey(s.through), UpperBound: []byte{leafPrefix + 1}})
	if err != nil {
		return err
	}
	for valid := iterator.First(); valid; valid = iterator.Next() {
		number := binary.BigEndian.Uint64(iterator.Key()[1:])
		if number == s.through {
			s.through++
		}
		s.newest = max(s.newest, number+1)
		if number > s.through && s.newest > number+1 {
			break // beyond a gap, and the end is known
		}
	}
	return judged(errors.Join(iterator.Error(), iterator.Close()))
}

// Append stores leaves, again if they are there. It is not durable yet.
func (s *Store) Append(leaves []audit.Leaf) error {
	if len(leaves) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // frees memory only
	var value []byte
	for _, leaf := range leaves {
		if leaf.Number < s.first {
			continue // archived
		}
		value = encode(value[:0], leaf)
		if leaf.Number < s.newest {
			if err := s.compare(leaf.Number, value); err != nil {
				return err
			}
		}
		if err := batch.Set(leafKey(leaf.Number), value, nil); err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return err
	}
	for _, leaf := range leaves {
		s.newest = max(s.newest, leaf.Number+1)
		if leaf.Number == s.through {
			s.through++
		}
	}
	if s.newest > s.through && leaves[len(leaves)-1].Number+1 == s.through {
		return s.advance() // a gap was filled
	}
	return nil
}

// compare notes when the disk holds another leaf than the log says.
func (s *Store) compare(number uint64, value []byte) error {
	had, err := s.get(leafKey(number))
	if err != nil {
		return err
	}
	if had != nil && !bytes.Equal(had, value) && s.differed == "" {
		s.differed = fmt.Sprintf("leaf %d of the audit log was another one on this disk than in the site's log", number)
	}
	return nil
}

// Differed says which leaf was not the one of the site's log; empty for none.
func (s *Store) Differed() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.differed
}

// Sync makes all that was stored durable.
func (s *Store) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.Set(markKey, s.mark(), pebble.Sync)
}

func (s *Store) mark() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, s.first), s.through)
}

// Range of leaves that are here without gap: from first up to, not including,
// through.
func (s *Store) Range() (first, through uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.first, s.through
}

// Edge is the frontier before the first leaf: of what was archived.
func (s *Store) Edge() audit.Frontier {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.edge
}

// Forget takes all leaves for missing, so that they are fetched again; none is
// deleted.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.through = s.first
}

// Begin makes the store begin at a size whose leaves were archived before it had
// them. What it holds below is deleted.
func (s *Store) Begin(edge audit.Frontier) error { return s.cut(edge) }

// Archive deletes the leaves below size and keeps what proves the rest.
func (s *Store) Archive(size uint64) error {
	if first, through := s.Range(); size <= first || size > through {
		return nil
	}
	edge, err := audit.FrontierAt(s, size)
	if err != nil {
		return err
	}
	return s.cut(edge)
}

func (s *Store) cut(edge audit.Frontier) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if edge.Size() < s.first {
		return fmt.Errorf("the audit log begins at %d here, not at %d", s.first, edge.Size())
	}
	batch := s.db.NewBatch()
	defer func() { _ = batch.Close() }() // frees memory only
	through := max(s.through, edge.Size())
	err := errors.Join(
		batch.DeleteRange(leafKey(0), leafKey(edge.Size()), nil),
		batch.Set(edgeKey, bytes.Join(edge.Edge(), nil), nil),
		batch.Set(markKey, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, edge.Size()), through), nil),
	)
	if err == nil {
		err = batch.Commit(pebble.Sync)
	}
	if err != nil {
		return err
	}
	s.first, s.through, s.edge = edge.Size(), through, edge
	s.newest = max(s.newest, through)
	return s.advance()
}

// Close closes the store.
func (s *Store) Close() error { return s.db.Close() }

func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, judged(err)
	}
	return bytes.Clone(value), closer.Close()
}

func leafKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{leafPrefix}, number)
}

// checkpointPrefix is that of the keys of checkpoints, by node.
const checkpointPrefix = byte('c')

// KeepCheckpoint keeps the newest checkpoint of a node, durably.
func (s *Store) KeepCheckpoint(node string, encoded []byte) error {
	return s.db.Set(append([]byte{checkpointPrefix}, node...), encoded, pebble.Sync)
}

// Checkpoints calls f with each that is kept.
func (s *Store) Checkpoints(f func(node string, encoded []byte) error) error {
	iterator, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{checkpointPrefix}, UpperBound: []byte{checkpointPrefix + 1}})
	if err != nil {
		return err
	}
	for valid := iterator.First(); valid; valid = iterator.Next() {
		if err := f(string(iterator.Key()[1:]), bytes.Clone(iterator.Value())); err != nil {
			return errors.Join(err, iterator.Close())
		}
	}
	return judged(errors.Join(iterator.Error(), iterator.Close()))
}
