package sim

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

type memLog struct{ now, synced image }

type image struct {
	snapshot *raftpb.Snapshot
	entries  []*raftpb.Entry
	hard     *raftpb.HardState
}

func newMemLog() *memLog {
	empty := image{snapshot: &raftpb.Snapshot{}, hard: &raftpb.HardState{}}
	return &memLog{now: empty, synced: empty}
}

func (l *memLog) Crash()       { l.now = l.synced }
func (l *memLog) Close() error { return nil }

func (l *memLog) base() uint64 { return l.now.snapshot.GetMetadata().GetIndex() }
func (l *memLog) first() uint64 {
	if len(l.now.entries) > 0 {
		return l.now.entries[0].GetIndex()
	}
	return l.base() + 1
}
func (l *memLog) last() uint64 {
	if n := len(l.now.entries); n > 0 {
		return l.now.entries[n-1].GetIndex()
	}
	return l.base()
}

func (l *memLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return l.now.hard, l.now.snapshot.GetMetadata().GetConfState(), nil
}
func (l *memLog) FirstIndex() (uint64, error)         { return l.first(), nil }
func (l *memLog) LastIndex() (uint64, error)          { return l.last(), nil }
func (l *memLog) Snapshot() (*raftpb.Snapshot, error) { return l.now.snapshot, nil }
func (l *memLog) Term(i uint64) (uint64, error) {
	if i == l.base() {
		return l.now.snapshot.GetMetadata().GetTerm(), nil
	}
	if i < l.first() {
		return 0, raft.ErrCompacted
	}
	if i > l.last() {
		return 0, raft.ErrUnavailable
	}
	return l.now.entries[i-l.first()].GetTerm(), nil
}
func (l *memLog) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	if lo < l.first() {
		return nil, raft.ErrCompacted
	}
	if hi > l.last()+1 {
		return nil, raft.ErrUnavailable
	}
	out := l.now.entries[lo-l.first() : hi-l.first()]
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
	}
	if len(entries) > 0 {
		keep := l.now.entries
		if at := entries[0].GetIndex(); at <= l.last() {
			keep = keep[:at-l.first()]
		}
		l.now.entries = append(slices.Clip(keep), entries...)
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
	l.now.entries = slices.Clone(l.now.entries[index+1-l.first():])
	l.now.snapshot = s
	l.synced = l.now
	return nil
}
