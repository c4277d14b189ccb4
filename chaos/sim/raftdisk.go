package sim

import (
	"errors"

	"go.etcd.io/raft/v3/raftpb"

	"skerry.dev/coordinator/consensus"
)

// errPower is what a write gives when the process dies in the middle of it.
var errPower = errors.New("the process died in the middle of a write")

// errDisk is what a write gives when the disk is bad.
var errDisk = errors.New("input/output error")

// raftDisk is the part of a host's disk that holds the log of its replica. It
// can make the process die just before or just after a write.
type raftDisk struct {
	*memLog
	// id of the replica whose log it is; 0 when there is none.
	id uint64
	// dieBefore and dieAfter a write of entries: a leader has told others of
	// them by then.
	dieBefore, dieAfter bool
	// fails: the next write fails, and this log is never used again. halted is
	// the replica to which that happened.
	fails  bool
	halted uint64
	bug    Bug
}

var _ consensus.Log = (*raftDisk)(nil)

func (d *raftDisk) Append(snapshot *raftpb.Snapshot, entries []*raftpb.Entry, hard *raftpb.HardState, sync bool) error {
	if len(entries) > 0 && d.dieBefore {
		return errPower
	}
	if d.fails {
		d.fails = false
		return errDisk
	}
	if d.bug == SkipSync {
		sync = false
	}
	if err := d.memLog.Append(snapshot, entries, hard, sync); err != nil {
		return err
	}
	if len(entries) > 0 && d.dieAfter {
		return errPower
	}
	return nil
}

// wipe makes room for another replica.
func (d *raftDisk) wipe() { d.memLog, d.id, d.fails = nil, 0, false }

// crash loses what was not synced.
func (d *raftDisk) crash() {
	d.dieBefore, d.dieAfter = false, false
	if d.memLog != nil {
		d.memLog.crash()
	}
}
