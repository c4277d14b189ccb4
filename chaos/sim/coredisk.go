package sim

import (
	"math/rand/v2"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"skerry.dev/chaos/check"
)

// coreDisk is the log of a replica whose unsynced writes are lost in a crash, or
// the last of them.
type coreDisk struct {
	*memLog
	core *core
	// since the last sync, oldest first.
	since []image
	// dieBefore and dieAfter a write of entries.
	dieBefore, dieAfter bool
	// flipped: a bit is another one than was written; refused: that was found out, and
	// this log is never used again.
	flipped, refused bool
}

func newCoreDisk(c *core) *coreDisk { return &coreDisk{memLog: newMemLog(), core: c} }

// Append implements consensus.Log.
func (d *coreDisk) Append(snapshot *raftpb.Snapshot, entries []*raftpb.Entry, hard *raftpb.HardState, sync bool) error {
	if len(entries) > 0 && d.dieBefore {
		return errPower
	}
	if d.core.has(SkipSync) {
		sync = false
	}
	if err := d.memLog.Append(snapshot, entries, hard, sync); err != nil {
		return err
	}
	d.since = append(d.since, d.now)
	if sync {
		d.since = d.since[:0]
	}
	d.core.violate(check.BoundedLog(len(d.now.entries), coreLog))
	if len(entries) > 0 && d.dieAfter {
		return errPower
	}
	return nil
}

// Compact implements consensus.Log.
func (d *coreDisk) Compact(snapshot *raftpb.Snapshot, index uint64) error {
	d.since = d.since[:0]
	return d.memLog.Compact(snapshot, index)
}

// crash leaves what was synced, and of what followed the first writes, whole.
func (d *coreDisk) crash() {
	if left := d.core.hostRng.IntN(len(d.since) + 1); left > 0 {
		d.synced = d.since[left-1]
	}
	d.since, d.dieBefore, d.dieAfter = nil, false, false
	d.memLog.crash()
}

// flip a bit of an entry, of the vote or of the snapshot. It is changed here alone:
// replicas share what they hold in memory.
func (d *coreDisk) flip(rng *rand.Rand) {
	d.flipped = true
	left := d.synced
	switch n := len(left.entries); {
	case n > 0 && rng.IntN(3) > 0:
		at := rng.IntN(n)
		changed := proto.CloneOf(left.entries[at])
		if len(changed.GetData()) > 0 && rng.IntN(4) > 0 {
			changed.Data[rng.IntN(len(changed.Data))] ^= 1 << rng.IntN(8)
		} else {
			changed.Term = new(changed.GetTerm() ^ 1)
		}
		left.entries = append(append(append([]*raftpb.Entry(nil), left.entries[:at]...), changed), left.entries[at+1:]...)
	case rng.IntN(2) == 0 && len(left.snapshot.GetData()) > 0:
		left.snapshot = proto.CloneOf(left.snapshot)
		left.snapshot.Data[rng.IntN(len(left.snapshot.Data))] ^= 1 << rng.IntN(8)
	default:
		left.hard = proto.CloneOf(left.hard)
		left.hard.Vote = new(left.hard.GetVote() ^ 1)
	}
	d.synced, d.now = left, left
}
