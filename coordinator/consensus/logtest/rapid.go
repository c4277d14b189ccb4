package logtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"skerry.dev/coordinator/consensus"
)

// image is what a log holds that matters after a restart: entries up to the
// snapshot are only kept for slow followers, and only as long as it is open.
type image struct {
	Snapshot plainSnapshot
	Entries  []plainEntry
	Hard     plainHard
}

type plainSnapshot struct {
	Index, Term uint64
	Data        string
	Voters      []uint64
}

type plainEntry struct {
	Index, Term uint64
	Data        string
}

type plainHard struct{ Term, Vote, Commit uint64 }

func plainOf(s *raftpb.Snapshot) plainSnapshot {
	m := s.GetMetadata()
	return plainSnapshot{m.GetIndex(), m.GetTerm(), string(s.GetData()), m.GetConfState().GetVoters()}
}

func plain(all []*raftpb.Entry) []plainEntry {
	var out []plainEntry
	for _, e := range all {
		out = append(out, plainEntry{e.GetIndex(), e.GetTerm(), string(e.GetData())})
	}
	return out
}

func contents(t testing.TB, log consensus.Log) image {
	t.Helper()
	s, err := log.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	last, err := log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	hard, _, err := log.InitialState()
	if err != nil {
		t.Fatal(err)
	}
	return image{
		Snapshot: plainOf(s),
		Entries:  plain(read(t, log, s.GetMetadata().GetIndex()+1, last)),
		Hard:     plainHard{hard.GetTerm(), hard.GetVote(), hard.GetCommit()},
	}
}

// losesOnlyTheTail crashes a log at any point of any history. history holds
// what it held after each operation since the last one that was durable, and
// one of these is what it must hold afterwards.
func losesOnlyTheTail(t *testing.T, newDisk func(testing.TB) Disk) {
	rapid.Check(t, func(r *rapid.T) {
		disk := newDisk(t)
		log := disk.Open(t)
		history := []image{contents(t, log)}
		for range rapid.IntRange(1, 20).Draw(r, "operations") {
			if rapid.IntRange(0, 4).Draw(r, "crash") == 0 {
				log = crash(t, disk)
				history = []image{oneOf(r, history, contents(t, log))}
				continue
			}
			durable := change(r, t, log)
			if durable {
				history = nil
			}
			history = append(history, contents(t, log))
		}
		log = crash(t, disk)
		oneOf(r, history, contents(t, log))
		end(t, log)
	})
}

func oneOf(r *rapid.T, history []image, got image) image {
	for _, may := range history {
		if cmp.Equal(may, got) {
			return got
		}
	}
	r.Fatalf("after a crash the log holds none of %d things that it may (-the last +got):\n%s",
		len(history), cmp.Diff(history[len(history)-1], got))
	return image{}
}

// change does one of the things that a replica does to its log, and tells
// whether it must be durable. Only what is not committed is ever replaced.
func change(r *rapid.T, t testing.TB, log consensus.Log) bool {
	now := contents(t, log)
	base, baseTerm := now.Snapshot.Index, now.Snapshot.Term
	last := base + uint64(len(now.Entries))
	commit, term := max(base, now.Hard.Commit), max(1, baseTerm, now.Hard.Term)
	voted := func() uint64 {
		if term == now.Hard.Term {
			return now.Hard.Vote
		}
		return 0
	}
	switch rapid.IntRange(0, 9).Draw(r, "kind") {
	case 0: // a snapshot from the leader
		index := last + rapid.Uint64Range(1, 5).Draw(r, "ahead")
		appendTo(t, log, snapshot(index, term), nil, hardState(term, voted(), index), true)
		return true
	case 1, 2: // the state is written out
		if commit == base {
			return false
		}
		at := rapid.Uint64Range(base+1, commit).Draw(r, "snapshot at")
		atTerm, err := log.Term(at)
		if err != nil {
			r.Fatal(err)
		}
		compact(t, log, snapshot(at, atTerm), rapid.Uint64Range(0, at).Draw(r, "drop up to"))
		return true
	case 3, 4: // more is committed
		commit = rapid.Uint64Range(commit, last).Draw(r, "commit")
		appendTo(t, log, nil, nil, hardState(term, voted(), commit), false)
		return false
	case 5: // a vote
		appendTo(t, log, nil, nil, hardState(term+1, rapid.Uint64Range(1, 3).Draw(r, "vote"), commit), true)
		return true
	default: // entries of this term, or those of a new leader
		from := last + 1
		if commit < last && rapid.Bool().Draw(r, "replace") {
			from, term = rapid.Uint64Range(commit+1, last).Draw(r, "from"), term+1
		}
		to := from + rapid.Uint64Range(0, 4).Draw(r, "more")
		appendTo(t, log, nil, entries(from, to, term), hardState(term, voted(), commit), true)
		return true
	}
}
