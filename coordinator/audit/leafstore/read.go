package leafstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/mod/sumdb/tlog"

	"skerry.dev/coordinator/audit"
	"skerry.dev/shared/problem"
)

// encode is the number of hashes, the hashes, the data.
func encode(into []byte, leaf audit.Leaf) []byte {
	into = append(into, byte(len(leaf.Hashes)))
	for i := range leaf.Hashes {
		into = append(into, leaf.Hashes[i][:]...)
	}
	return append(into, leaf.Data...)
}

// decode checks the data against its hash: what was changed on the disk is not
// given out.
func decode(number uint64, value []byte) (audit.Leaf, error) {
	damaged := func(what string) error {
		return problem.New(problem.Internal, fmt.Sprintf("audit entry %d", number), "it is damaged on this voter's disk: %s", what).
			WithHint("ask another voter with --address")
	}
	if len(value) < 1+tlog.HashSize || len(value) < 1+int(value[0])*tlog.HashSize || value[0] == 0 {
		return audit.Leaf{}, damaged("it is cut off")
	}
	leaf := audit.Leaf{Number: number}
	count := int(value[0])
	value = value[1:]
	for range count {
		leaf.Hashes = append(leaf.Hashes, tlog.Hash(value[:tlog.HashSize]))
		value = value[tlog.HashSize:]
	}
	leaf.Data = append([]byte(nil), value...)
	if tlog.RecordHash(leaf.Data) != leaf.Hashes[0] {
		return audit.Leaf{}, damaged("its hash is another one")
	}
	return leaf, nil
}

// Leaf of a number.
func (s *Store) Leaf(number uint64) (audit.Leaf, error) {
	value, err := s.get(leafKey(number))
	if err != nil {
		return audit.Leaf{}, err
	}
	if value == nil {
		return audit.Leaf{}, s.missing(number)
	}
	return decode(number, value)
}

func (s *Store) missing(number uint64) error {
	subject := fmt.Sprintf("audit entry %d", number)
	first, through := s.Range()
	switch {
	case number < first:
		return problem.New(problem.NotFound, subject, "the site keeps entries from %d on: those before were archived, or lost before it was restored", first).
			WithHint("look into an archive or an export: skerry audit verify FILE")
	case number >= through:
		return problem.New(problem.NotFound, subject, "there is no such entry: the last one is %d", int64(through)-1)
	default:
		return problem.New(problem.Internal, subject, "it is missing on this voter").WithHint("ask another voter with --address")
	}
}

// Subtree implements audit.Hashes.
func (s *Store) Subtree(level int, end uint64) (tlog.Hash, error) {
	s.mu.RLock()
	first, edge := s.first, s.edge
	s.mu.RUnlock()
	if end <= first {
		return edge.Subtree(level, end)
	}
	leaf, err := s.Leaf(end - 1)
	if err != nil {
		return tlog.Hash{}, err
	}
	if level >= len(leaf.Hashes) {
		return tlog.Hash{}, fmt.Errorf("leaf %d completes no subtree of level %d", end-1, level)
	}
	return leaf.Hashes[level], nil
}

// Each calls f with the leaves from one number up to, not including, another,
// until f returns false or an error.
func (s *Store) Each(from, to uint64, f func(audit.Leaf) (bool, error)) error {
	return s.walk(from, to, (*pebble.Iterator).First, (*pebble.Iterator).Next, f)
}

// Back is Each from the newest to the oldest.
func (s *Store) Back(from, to uint64, f func(audit.Leaf) (bool, error)) error {
	return s.walk(from, to, (*pebble.Iterator).Last, (*pebble.Iterator).Prev, f)
}

func (s *Store) walk(from, to uint64, begin, next func(*pebble.Iterator) bool, f func(audit.Leaf) (bool, error)) error {
	iterator, err := s.db.NewIter(&pebble.IterOptions{LowerBound: leafKey(from), UpperBound: leafKey(to)})
	if err != nil {
		return err
	}
	for valid := begin(iterator); valid; valid = next(iterator) {
		leaf, err := decode(binary.BigEndian.Uint64(iterator.Key()[1:]), iterator.Value())
		more := false
		if err == nil {
			more, err = f(leaf)
		}
		if err != nil {
			return errors.Join(err, iterator.Close())
		}
		if !more {
			break
		}
	}
	return errors.Join(iterator.Error(), iterator.Close())
}
