package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// Raft's timing, in ticks of the shell.
const (
	electionTicks  = 10
	heartbeatTicks = 1
	// longestElectionTicks is raft's bound of a voter's random election timeout. A voter
	// that hears nobody for so long has forgotten its leader. One that does not vote never
	// campaigns, and raft lets it keep its leader for ever.
	longestElectionTicks = 2 * electionTicks
)

// Bounds of what raft holds in memory and in flight.
const (
	maxMessageBytes     = 1 << 20
	maxCommittedBytes   = 4 << 20
	maxUncommittedBytes = 64 << 20
	maxInflight         = 256
	maxInflightBytes    = 16 << 20
)

const (
	// snapshotEvery this many applied entries the state is written out and the
	// log before it dropped, but for the last keepEntries: followers that are a
	// little behind catch up without a snapshot.
	snapshotEvery = 16384
	keepEntries   = 4096
	// checkEvery this many applied entries the coordinator proposes to compare
	// state hashes.
	checkEvery = 512
)

// Log stores a replica's log. Reads are those of raft.Storage.
type Log interface {
	raft.Storage
	// Append stores, in this order: a received snapshot (nil for none), which
	// replaces everything; entries, which replace all from their first index
	// on; and the hard state (nil for none). All of it or nothing is stored. If
	// sync, it is durable when Append returns.
	Append(snapshot *raftpb.Snapshot, entries []*raftpb.Entry, hard *raftpb.HardState, sync bool) error
	// Compact stores a snapshot of the state at an applied index, durably, and
	// then drops the entries up to and including index.
	Compact(snapshot *raftpb.Snapshot, index uint64) error
	Close() error
}

// Machine is the replicated state machine. It is pure.
type Machine interface {
	Apply(index uint64, entry *sitev1.Entry) *sitev1.Outcome
	// ApplyVoterChange tells of a change that has ended: the voters before it are
	// not asked any more.
	ApplyVoterChange(index uint64, change *sitev1.VoterChange)
	// Hash of the whole state; equal states have equal hashes.
	Hash() uint64
	// Marshal is deterministic.
	Marshal() ([]byte, error)
	Restore(data []byte) error
}

// Kept is stored beside the log. What a crash loses of it comes again when the
// entries are applied again.
type Kept interface {
	// Flush stores what came since the last call.
	Flush() error
	// Sync makes it durable: the log is about to forget.
	Sync() error
}

// Config of a replica.
type Config struct {
	// ID is the raft ID, never 0, never used before by another replica.
	ID      uint64
	Log     Log
	Machine Machine
	// Send passes messages on; it may lose them, but must not block.
	Send   func([]*raftpb.Message)
	Logger *slog.Logger
	// Kept is what the machine gives out to be kept beside the log; may be nil.
	Kept Kept
	// SnapshotEvery overrides the default number of entries; for tests.
	SnapshotEvery uint64
}

// Completion tells what became of a proposal of this replica. Err is set when
// the outcome is unknown, or when the proposal was lost with the leadership.
type Completion struct {
	RequestID string
	Outcome   *sitev1.Outcome
	Err       error
}

// Read is a linearizable read point: state applied up to Index may answer the
// read that was asked for with ID.
type Read struct{ ID, Index uint64 }

// Effects of one cycle, for the shell.
type Effects struct {
	Completions []Completion
	Reads       []Read
}

// Replica is one member of the group. It is not safe for concurrent use.
type Replica struct {
	config  Config
	raw     *raft.RawNode
	applied uint64
	conf    *raftpb.ConfState
	// servingTerm is the last term whose own first entry was applied here.
	servingTerm uint64
	snapshotAt  uint64
	// memberChanged asks for a snapshot now: a new replica begins with one, and
	// takes only one whose configuration has it.
	memberChanged bool
	// joint is the change that has begun and not ended: until then a majority of
	// the voters before it is needed as well as one of those after it.
	joint     *sitev1.VoterChange
	checkedAt uint64
	hashes    hashRing
	// pending are the request IDs proposed in pendingTerm.
	pending     map[string]bool
	pendingTerm uint64
	// batch is proposed to raft with the next cycle, in one message: raft sends
	// one on to each voter for every message that it is given. batchIDs are the
	// request IDs in it.
	batch    []*raftpb.Entry
	batchIDs []string
	turns    turns
	// unheard are the ticks since the leader that this one follows was heard.
	unheard int
	// led is since when this one leads, 0 while it does not, and pulses are those of the
	// other replicas meanwhile.
	led    time.Duration
	pulses map[uint64]pulse
}

// NewReplica continues from what the log holds: the state of its snapshot is
// restored, committed entries after it are applied again by Process.
func NewReplica(config Config) (*Replica, error) {
	if config.SnapshotEvery == 0 {
		config.SnapshotEvery = snapshotEvery
	}
	r := &Replica{config: config, pending: map[string]bool{}, conf: &raftpb.ConfState{}, pulses: map[uint64]pulse{}}
	snapshot, err := config.Log.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("the log's snapshot: %w", err)
	}
	if !raft.IsEmptySnap(snapshot) {
		if err := r.restore(snapshot); err != nil {
			return nil, err
		}
	}
	r.raw, err = raft.NewRawNode(&raft.Config{
		ID:                        config.ID,
		ElectionTick:              electionTicks,
		HeartbeatTick:             heartbeatTicks,
		Storage:                   config.Log,
		Applied:                   r.applied,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxCommittedBytes,
		MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxInflightMsgs:           maxInflight,
		MaxInflightBytes:          maxInflightBytes,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    raftLogger{config.Logger},
		DisableProposalForwarding: true,
		// One that ends a change of somebody else that removes it could commit nothing, and
		// would lead on.
		StepDownOnRemoval: true,
	})
	return r, err
}

// Tick advances raft's clock by one, at a time of any clock that never goes back; used is
// the processor time that the process has used so far of each processor.
func (r *Replica) Tick(now, used time.Duration) {
	r.turns.turn(now, used)
	if r.raw.BasicStatus().RaftState != raft.StateLeader {
		r.led = 0
		clear(r.pulses)
	} else if r.led == 0 {
		r.led = now
	}
	r.unheard++
	r.raw.Tick()
}

// Campaign starts an election now, without waiting for a timeout.
func (r *Replica) Campaign() error { return r.raw.Campaign() }

// Step takes in a message of another replica, which came at a time of the clock of
// Tick. Messages that raft refuses, such as those of a removed replica, are no fault of
// this one.
func (r *Replica) Step(message *raftpb.Message, at time.Duration) {
	if err := r.raw.Step(r.unmark(message, at)); err != nil {
		r.config.Logger.Debug("raft refused a message", "from", message.GetFrom(), "type", message.GetType(), "error", err)
		return
	}
	if basic := r.raw.BasicStatus(); message.GetFrom() == basic.Lead && message.GetTerm() == basic.HardState.GetTerm() {
		r.unheard = 0
	}
}

// ReportUnreachable tells that messages to a replica were lost.
func (r *Replica) ReportUnreachable(id uint64) { r.raw.ReportUnreachable(id) }

// ReportSnapshot tells how the sending of a snapshot ended.
func (r *Replica) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	r.raw.ReportSnapshot(id, status)
}

// Propose asks for an entry to be committed. Its completion follows from a
// later Process. Only a leader that has applied an entry of its own term can.
func (r *Replica) Propose(entry *sitev1.Entry) error {
	term := r.raw.BasicStatus().HardState.GetTerm()
	if !r.serving() || (len(r.pending) > 0 && r.pendingTerm != term) {
		return errNotServing
	}
	entry.Term = term
	data, err := proto.Marshal(entry)
	if err != nil {
		return problem.New(problem.Invalid, "entry", "it cannot be encoded: %w", err)
	}
	r.batch = append(r.batch, &raftpb.Entry{Data: data})
	if entry.GetRequestId() != "" {
		r.pending[entry.GetRequestId()] = true
		r.pendingTerm = term
		r.batchIDs = append(r.batchIDs, entry.GetRequestId())
	}
	return nil
}

// proposeBatch hands over to raft what was proposed since the last cycle.
func (r *Replica) proposeBatch(effects *Effects) {
	if len(r.batch) == 0 {
		return
	}
	batch, ids := r.batch, r.batchIDs
	r.batch, r.batchIDs = nil, nil
	var err error = errNotServing // the term may be over since
	if basic := r.raw.BasicStatus(); r.serving() && (len(ids) == 0 || basic.HardState.GetTerm() == r.pendingTerm) {
		err = r.raw.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(r.config.ID), Entries: batch})
	}
	if err == nil {
		return
	}
	if !errors.Is(err, errNotServing) {
		err = problem.New(problem.Unavailable, "log", "the proposal was dropped: %w", err).WithHint("try again")
	}
	for _, id := range ids {
		delete(r.pending, id)
		effects.Completions = append(effects.Completions, Completion{RequestID: id, Err: err})
	}
}

var errNotServing = problem.New(problem.Unavailable, "log", "this replica does not lead").WithHint("try again")

// ErrLeadershipLost is the error of completions whose outcome is unknown.
var ErrLeadershipLost = problem.New(problem.Unavailable, "log", "the leadership was lost before the write was confirmed; it may have happened").
	WithHint("repeat it with the same request ID")

// ReadIndex asks for a linearizable read point; raft may drop the request
// without a word, so ask again with another id.
func (r *Replica) ReadIndex(id uint64) {
	r.raw.ReadIndex(binary.BigEndian.AppendUint64(nil, id))
}

// ChangeVoters proposes one change of the voters, joint when it replaces one.
func (r *Replica) ChangeVoters(change *sitev1.VoterChange) error {
	if !r.serving() {
		return errNotServing
	}
	context, err := proto.Marshal(change)
	if err != nil {
		return err
	}
	cc := &raftpb.ConfChangeV2{
		Transition: raftpb.ConfChangeTransitionAuto.Enum(),
		Changes:    singleChanges(change),
		Context:    context,
	}
	if err := r.raw.ProposeConfChange(cc); err != nil {
		return problem.New(problem.Unavailable, "voters", "the change was dropped: %w", err).WithHint("try again")
	}
	return nil
}

// TransferLeadership asks the most caught-up other voter that may lead to take
// over, one that does not stand still again and again if there is one; false when there
// is none. Any may when none is named.
func (r *Replica) TransferLeadership(may ...uint64) bool {
	able := func(peer Peer) bool {
		return peer.RecentActive && (len(may) == 0 || slices.Contains(may, peer.ID))
	}
	steady := r.transfer(func(peer Peer) bool { return able(peer) && !r.pulses[peer.ID].shaky })
	return steady != 0 || r.transfer(able) != 0
}

func (r *Replica) transfer(may func(Peer) bool) (to uint64) {
	var match uint64
	for _, peer := range r.Status().Peers {
		if !peer.Learner && may(peer) && (to == 0 || peer.Match > match) {
			to, match = peer.ID, peer.Match
		}
	}
	if to != 0 {
		r.raw.TransferLeader(to)
	}
	return to
}

// HasReady tells whether Process has something to do.
func (r *Replica) HasReady() bool { return len(r.batch) > 0 || r.raw.HasReady() }

// Process runs one cycle: it persists, sends, applies. An error means that
// this replica must halt: its disk or its state cannot be trusted.
func (r *Replica) Process() (Effects, error) {
	var effects Effects
	r.proposeBatch(&effects)
	if !r.raw.HasReady() {
		return effects, nil
	}
	ready := r.raw.Ready()
	r.mark(ready.Messages)
	leads := r.raw.BasicStatus().RaftState == raft.StateLeader
	if leads {
		// A leader may send before its own fsync: it counts its own log only
		// after it (raft thesis, section 10.2.1).
		r.config.Send(ready.Messages)
	}
	if err := r.persist(ready); err != nil {
		return effects, err
	}
	if !leads {
		r.config.Send(ready.Messages)
	}
	for _, state := range ready.ReadStates {
		effects.Reads = append(effects.Reads, Read{ID: binary.BigEndian.Uint64(state.RequestCtx), Index: state.Index})
	}
	for _, entry := range ready.CommittedEntries {
		if err := r.apply(entry, &effects); err != nil {
			return effects, err
		}
	}
	if r.config.Kept != nil && len(ready.CommittedEntries) > 0 {
		if err := r.config.Kept.Flush(); err != nil {
			return effects, fmt.Errorf("what belongs beside the log could not be written: %w", err)
		}
	}
	r.raw.Advance(ready)
	r.failPending(&effects)
	if err := r.snapshot(); err != nil {
		return effects, err
	}
	r.proposeCheck()
	return effects, nil
}

func (r *Replica) persist(ready raft.Ready) error {
	var received *raftpb.Snapshot
	if !raft.IsEmptySnap(ready.Snapshot) {
		received = ready.Snapshot
	}
	if received == nil && len(ready.Entries) == 0 && ready.HardState == nil {
		return nil
	}
	if err := r.config.Log.Append(received, ready.Entries, ready.HardState, ready.MustSync || received != nil); err != nil {
		return fmt.Errorf("the log could not be written: %w", err)
	}
	if received == nil {
		return nil
	}
	return r.restore(received)
}

func (r *Replica) restore(snapshot *raftpb.Snapshot) error {
	if err := r.config.Machine.Restore(snapshot.GetData()); err != nil {
		return fmt.Errorf("the snapshot at index %d cannot be restored: %w", snapshot.GetMetadata().GetIndex(), err)
	}
	r.applied = snapshot.GetMetadata().GetIndex()
	r.snapshotAt, r.checkedAt = r.applied, r.applied
	r.conf, r.joint = snapshot.GetMetadata().GetConfState(), nil
	r.hashes = hashRing{}
	return nil
}

func (r *Replica) apply(entry *raftpb.Entry, effects *Effects) error {
	defer func() { r.applied = entry.GetIndex() }()
	if entry.GetType() != raftpb.EntryNormal {
		return r.applyConf(entry)
	}
	if len(entry.GetData()) == 0 {
		r.servingTerm = entry.GetTerm()
		return nil
	}
	decoded := &sitev1.Entry{}
	if err := proto.Unmarshal(entry.GetData(), decoded); err != nil {
		return fmt.Errorf("entry %d does not parse: %w", entry.GetIndex(), err)
	}
	if check := decoded.GetCheckHash(); check != nil {
		return r.hashes.compare(check)
	}
	outcome := r.config.Machine.Apply(entry.GetIndex(), decoded)
	r.hashes.add(entry.GetIndex(), r.config.Machine.Hash())
	if r.pending[decoded.GetRequestId()] {
		delete(r.pending, decoded.GetRequestId())
		effects.Completions = append(effects.Completions, Completion{RequestID: decoded.GetRequestId(), Outcome: outcome})
	}
	return nil
}

func (r *Replica) applyConf(entry *raftpb.Entry) error {
	cc := &raftpb.ConfChangeV2{}
	if err := proto.Unmarshal(entry.GetData(), cc); err != nil {
		return fmt.Errorf("configuration change %d does not parse: %w", entry.GetIndex(), err)
	}
	r.conf = r.raw.ApplyConfChange(cc)
	members := slices.Concat(r.conf.GetVoters(), r.conf.GetLearners())
	maps.DeleteFunc(r.pulses, func(id uint64, _ pulse) bool { return !slices.Contains(members, id) })
	r.memberChanged = true
	change := r.joint // raft itself proposes the end of a joint change
	if len(cc.GetContext()) > 0 {
		change = &sitev1.VoterChange{}
		if err := proto.Unmarshal(cc.GetContext(), change); err != nil {
			return fmt.Errorf("configuration change %d: its context does not parse: %w", entry.GetIndex(), err)
		}
	}
	r.joint = nil
	if r.isJoint() {
		// Nobody is told before it has ended: a voter that goes away too early is
		// missed by those who know only the voters before.
		r.joint = change
		return nil
	}
	if change == nil {
		return nil
	}
	r.config.Machine.ApplyVoterChange(entry.GetIndex(), change)
	r.hashes.add(entry.GetIndex(), r.config.Machine.Hash())
	return nil
}

func (r *Replica) isJoint() bool { return len(r.conf.GetVotersOutgoing()) > 0 }

// failPending gives up on proposals of a leadership that is over: they may or
// may not have got through.
func (r *Replica) failPending(effects *Effects) {
	basic := r.raw.BasicStatus()
	if len(r.pending) == 0 || (basic.RaftState == raft.StateLeader && basic.HardState.GetTerm() == r.pendingTerm) {
		return
	}
	ids := make([]string, 0, len(r.pending))
	for id := range r.pending {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		effects.Completions = append(effects.Completions, Completion{RequestID: id, Err: ErrLeadershipLost})
	}
	clear(r.pending)
}

func (r *Replica) snapshot() error {
	if r.applied-r.snapshotAt < r.config.SnapshotEvery && !r.memberChanged {
		return nil
	}
	if r.isJoint() {
		return nil // the log must keep the change that has not ended
	}
	r.memberChanged = false
	if r.config.Kept != nil {
		if err := r.config.Kept.Sync(); err != nil {
			return fmt.Errorf("what belongs beside the log could not be made durable: %w", err)
		}
	}
	data, err := r.config.Machine.Marshal()
	if err != nil {
		return fmt.Errorf("the state cannot be encoded: %w", err)
	}
	term, err := r.config.Log.Term(r.applied)
	if err != nil {
		return fmt.Errorf("the term of entry %d: %w", r.applied, err)
	}
	keep := min(uint64(keepEntries), r.config.SnapshotEvery/2)
	err = r.config.Log.Compact(&raftpb.Snapshot{
		Data:     data,
		Metadata: &raftpb.SnapshotMetadata{Index: new(r.applied), Term: new(term), ConfState: r.conf},
	}, r.applied-min(keep, r.applied))
	if err != nil {
		return fmt.Errorf("the log could not be compacted: %w", err)
	}
	r.snapshotAt = r.applied
	return nil
}

// proposeCheck lets all replicas compare their states with this one's, now and
// then. A check that gets lost does no harm.
func (r *Replica) proposeCheck() {
	if r.applied-r.checkedAt < checkEvery || !r.serving() {
		return
	}
	r.checkedAt = r.applied
	index, hash, ok := r.hashes.last()
	if !ok {
		return
	}
	entry := &sitev1.Entry{Change: &sitev1.Entry_CheckHash{CheckHash: &sitev1.CheckHash{Index: index, Hash: hash}}}
	if err := r.Propose(entry); err != nil {
		r.config.Logger.Debug("a hash check was dropped", "error", err)
	}
}

// singleChanges are raft's words for a change: the replica that is removed
// first, so that adding the same node anew is not refused.
func singleChanges(change *sitev1.VoterChange) []*raftpb.ConfChangeSingle {
	var singles []*raftpb.ConfChangeSingle
	if id := change.GetRemoveRaftId(); id != 0 {
		singles = append(singles, &raftpb.ConfChangeSingle{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(id)})
	}
	if id := change.GetAddRaftId(); id != 0 {
		kind := raftpb.ConfChangeAddNode
		if isLearner(change) {
			kind = raftpb.ConfChangeAddLearnerNode
		}
		singles = append(singles, &raftpb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(id)})
	}
	return singles
}

// Bootstrap begins the log of a site's first voter: an empty state at index 1
// with itself as the only voter. The log must be empty.
func Bootstrap(log Log, id uint64, machine Machine) error {
	return BootstrapAt(log, id, machine, 1, 1)
}

// BootstrapAt begins a log with a state that there was before, at its index; the
// term is higher than any that it has seen.
func BootstrapAt(log Log, id uint64, machine Machine, index, term uint64) error {
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	if last != 0 {
		return errors.New("the log is not empty")
	}
	data, err := machine.Marshal()
	if err != nil {
		return err
	}
	return log.Append(&raftpb.Snapshot{
		Data: data,
		Metadata: &raftpb.SnapshotMetadata{
			Index: new(index), Term: new(term),
			ConfState: &raftpb.ConfState{Voters: []uint64{id}},
		},
	}, nil, &raftpb.HardState{Term: new(term), Vote: new(uint64(0)), Commit: new(index)}, true)
}
