package consensus

import (
	"log/slog"

	"go.etcd.io/raft/v3/raftpb"
)

// Last entry of a log: by it one of two logs that have lost their quorum is newer.
type Last struct{ Term, Index uint64 }

// Newer tells whether a log that ends so holds more than the other.
func (l Last) Newer(than Last) bool {
	if l.Term != than.Term {
		return l.Term > than.Term
	}
	return l.Index > than.Index
}

// Salvage applies all that a log holds to a machine: also what no majority is known
// to have, because it may have been acknowledged. It is for a site whose quorum is
// lost for good, and changes nothing in the log.
func Salvage(log Log, id uint64, machine Machine, logger *slog.Logger) (Last, error) {
	index, err := log.LastIndex()
	if err != nil {
		return Last{}, err
	}
	term, err := log.Term(index)
	if err != nil {
		return Last{}, err
	}
	replica, err := NewReplica(Config{
		ID: id, Log: &assumed{Log: log, commit: index}, Machine: machine, Send: func([]*raftpb.Message) {}, Logger: logger,
	})
	if err != nil {
		return Last{}, err
	}
	for replica.HasReady() {
		if _, err := replica.Process(); err != nil {
			return Last{}, err
		}
	}
	return Last{Term: term, Index: index}, nil
}

// assumed is a log of which all counts as committed, and that stays as it is.
type assumed struct {
	Log
	commit uint64
}

func (a *assumed) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hard, conf, err := a.Log.InitialState()
	if err == nil && hard != nil {
		hard = &raftpb.HardState{Term: new(hard.GetTerm()), Vote: new(hard.GetVote()), Commit: new(a.commit)}
	}
	return hard, conf, err
}

func (a *assumed) Append(*raftpb.Snapshot, []*raftpb.Entry, *raftpb.HardState, bool) error {
	return nil
}
func (a *assumed) Compact(*raftpb.Snapshot, uint64) error { return nil }
