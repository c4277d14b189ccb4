package sim

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// memLog is the log of a replica in memory, with the same rules as the real
// one in coordinator/consensus/pebblelog: what is not synced is lost in a
// crash, all of a batch or nothing.
type memLog struct{ now, synced image }

// image of a log. It is never changed in place: copies share their slices.
type image struct {
	snapshot *raftpb.Snapshot
	// before is the index before the first entry, beforeTerm its term.
	before, beforeTerm uint64
	entries            []*raftpb.Entry
	hard               *raftpb.HardState
}

func newMemLog() *memLog {
	empty := image{
		snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: &raftpb.ConfState{}}},
		hard:     &raftpb.HardState{},
	}
	return &memLog{now: empty, synced: empty}
}

// crash loses what is not synced. As with the real log, entries up to the
// snapshot do not outlive the process.
func (l *memLog) crash() {
	l.now = l.synced
	if base := l.now.snapshot.GetMetadata().GetIndex(); base > l.now.before {
		l.now.drop(base)
	}
	l.synced = l.now
}

func (l *memLog) Close() error { return nil }

func (i *image) last() uint64 { return i.before + uint64(len(i.entries)) }

// drop forgets the entries up to and including index.
func (i *image) drop(index uint64) {
	i.beforeTerm = i.entries[index-i.before-1].GetTerm()
	i.entries = slices.Clone(i.entries[index-i.before:])
	i.before = index
}

func (l *memLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return l.now.hard, l.now.snapshot.GetMetadata().GetConfState(), nil
}

func (l *memLog) FirstIndex() (uint64, error)         { return l.now.before + 1, nil }
func (l *memLog) LastIndex() (uint64, error)          { return l.now.last(), nil }
func (l *memLog) Snapshot() (*raftpb.Snapshot, error) { return l.now.snapshot, nil }

func (l *memLog) Term(i uint64) (uint64, error) {
	switch {
	case i < l.now.before:
		return 0, raft.ErrCompacted
	case i == l.now.before:
		return l.now.beforeTerm, nil
	case i > l.now.last():
		return 0, raft.ErrUnavailable
	default:
		return l.now.entries[i-l.now.before-1].GetTerm(), nil
	}
}

func (l *memLog) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo <= l.now.before {
		return nil, raft.ErrCompacted
	}
	if hi > l.now.last()+1 {
		return nil, raft.ErrUnavailable
	}
	out := l.now.entries[lo-l.now.before-1 : hi-l.now.before-1]
	size, n := uint64(0), 0
	for _, e := range out {
		size += uint64(len(e.GetData())) + 16
		if n > 0 && size > maxSize {
			break
		}
		n++
	}
	return slices.Clone(out[:n]), nil
}

func (l *memLog) Append(s *raftpb.Snapshot, entries []*raftpb.Entry, hard *raftpb.HardState, sync bool) error {
	if s != nil {
		l.now.snapshot, l.now.entries = s, nil
		l.now.before, l.now.beforeTerm = s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm()
	}
	if len(entries) > 0 {
		keep := l.now.entries[:entries[0].GetIndex()-l.now.before-1]
		if len(keep) < len(l.now.entries) {
			keep = slices.Clip(keep) // what is replaced may still be in the synced image
		}
		l.now.entries = append(keep, entries...)
	}
	if hard != nil {
		l.now.hard = hard
	}
	if sync {
		l.synced = l.now
	}
	return nil
}

func (l *memLog) Compact(s *raftpb.Snapshot, index uint64) error {
	l.now.snapshot = s
	if index > l.now.before {
		l.now.drop(index)
	}
	l.synced = l.now
	return nil
}
