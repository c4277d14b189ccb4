package consensus

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxTicks are made up for after a pause; more would be an election for
	// nothing.
	maxTicks = 2
	// Bounds of the queues into the loop.
	maxInbox     = 4096
	maxProposals = 1024
	maxReads     = 4096
	// maxBatch inputs are taken in before the replica runs its cycle.
	maxBatch = 512
	// readRetryTicks after which an unanswered read point is asked for again:
	// raft drops such requests silently.
	readRetryTicks = 3
	// stuckTicks that the loop does not take in: the others have elected somebody, or are
	// held up themselves, as by a disk that all of them share.
	stuckTicks = 3 * electionTicks
	// transferTicks a leader that stops waits for its successor.
	transferTime = 2 * time.Second
)

// Node runs a replica.
type Node struct {
	replica *Replica
	clock   env.Clock
	logger  *slog.Logger

	inbox     chan arrival
	proposals chan proposal
	readers   chan reader
	commands  chan func()
	// halted is closed when the loop has ended.
	halted chan struct{}

	status  atomic.Pointer[Status]
	applied atomic.Uint64
	// stuck is since when the loop takes no ticks in, on elapsed time; 0 while it does.
	stuck atomic.Int64

	mu          sync.Mutex
	changed     chan struct{}
	lastContact time.Duration // 0 before the first

	// Owned by the loop. waiting are proposals by request ID, of which the first is under
	// way: what another of that ID asks for is judged when the outcome of the first is in
	// the state.
	waiting map[string][]proposal
	reads   readBatch
}

type arrival struct {
	message *raftpb.Message
	at      time.Duration
}

type proposal struct {
	ctx   context.Context // of the caller, who may give up
	entry *sitev1.Entry
	done  chan Completion
}

type reader struct {
	ctx  context.Context // of the caller, who may give up
	done chan uint64
}

// readBatch gathers readers: all that come while one read point is asked for
// share the next one.
type readBatch struct {
	id       uint64
	age      int
	inflight []reader
	next     []reader
	// ready wait until their index is applied.
	ready []readyReader
}

type readyReader struct {
	reader
	index uint64
}

// NewNode returns the shell of a replica; Run makes it move.
func NewNode(replica *Replica, clock env.Clock, logger *slog.Logger) *Node {
	n := &Node{
		replica:   replica,
		clock:     clock,
		logger:    logger,
		inbox:     make(chan arrival, maxInbox),
		proposals: make(chan proposal, maxProposals),
		readers:   make(chan reader, maxReads),
		commands:  make(chan func()),
		halted:    make(chan struct{}),
		changed:   make(chan struct{}),
		waiting:   map[string][]proposal{},
	}
	// Not from 0: an answer to the process before this one, which comes late,
	// must not be taken for one to this.
	n.reads.id = uint64(clock.Elapsed())
	status := replica.Status()
	n.status.Store(&status)
	return n
}

// Run drives the replica until ctx ends, then hands the leadership over. Any
// other end is an error: the replica must halt.
func (n *Node) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	ticks := make(chan struct{}, maxTicks)
	group.Go(func() error { return n.tick(ctx, ticks) })
	var failure error
	group.Go(func() error {
		defer close(n.halted)
		defer n.retire()
		failure = n.loop(ctx, ticks)
		return failure
	})
	err := group.Wait()
	if failure != nil {
		return failure // also when it came while the replica stopped
	}
	return err
}

// retire tells everybody that this replica leads nobody any more.
func (n *Node) retire() {
	status := n.Status()
	status.Leader, status.IsLeader, status.Serving, status.HasQuorum = 0, false, false, false
	n.announce(status)
}

// tick the loop. When it is held up for so long that the others have another leader by
// now, as by a disk that does not answer, the status that it published last is not left
// standing: streams, leases and readers would cling to a coordinator that is none.
func (n *Node) tick(ctx context.Context, ticks chan<- struct{}) error {
	missed := 0
	for {
		if err := env.Sleep(ctx, n.clock, TickEvery); err != nil {
			return err
		}
		select {
		case ticks <- struct{}{}:
			if n.stuck.Swap(0) != 0 {
				n.logger.Info("the replica of the log moves again")
			}
			missed = 0
		default: // the loop was held up; that time does not count
			missed++
			if missed == stuckTicks {
				n.stuck.Store(int64(n.clock.Elapsed()))
				n.logger.Error("the replica of the log does not move: its disk does not answer; until it does, this node neither votes nor coordinates")
			}
			if missed >= stuckTicks {
				n.retire() // again, too: the loop may have published between two writes that hang
			}
		}
	}
}

// Stuck is for how long the replica does not move; 0 while it does.
func (n *Node) Stuck() time.Duration {
	since := n.stuck.Load()
	if since == 0 {
		return 0
	}
	return n.clock.Elapsed() - time.Duration(since)
}

// processorTime that this process has used so far of each processor that it may use.
func processorTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		// The call cannot fail on a kernel that Go supports.
		panic(fmt.Sprintf("getrusage: %v", err))
	}
	return time.Duration(usage.Utime.Nano()+usage.Stime.Nano()) / time.Duration(runtime.GOMAXPROCS(0))
}

func (n *Node) loop(ctx context.Context, ticks <-chan struct{}) error {
	for {
		select {
		case <-ticks:
			n.onTick()
		case m := <-n.inbox:
			n.replica.Step(m.message, m.at)
		case p := <-n.proposals:
			n.onProposal(p)
		case r := <-n.readers:
			n.reads.next = append(n.reads.next, r)
		case command := <-n.commands:
			command()
		case <-ctx.Done():
			return n.stop(ctx)
		}
		n.drain(ticks)
		if err := n.cycle(); err != nil {
			return err
		}
	}
}

// drain takes in what else is there, so that many proposals share one fsync, and no tick
// waits for more than one.
func (n *Node) drain(ticks <-chan struct{}) {
	for range maxBatch {
		select {
		case <-ticks:
			n.onTick()
		case m := <-n.inbox:
			n.replica.Step(m.message, m.at)
		case p := <-n.proposals:
			n.onProposal(p)
		case r := <-n.readers:
			n.reads.next = append(n.reads.next, r)
		default:
			return
		}
	}
}

// cycle runs the replica until it has nothing to do.
func (n *Node) cycle() error {
	n.startReads()
	for n.replica.HasReady() {
		effects, err := n.replica.Process()
		for _, c := range effects.Completions {
			n.complete(c)
		}
		n.finishReads(effects.Reads)
		if err != nil {
			return err
		}
		n.publish()
	}
	return nil
}

func (n *Node) onTick() {
	n.replica.Tick(n.clock.Elapsed(), processorTime())
	n.reads.next = slices.DeleteFunc(n.reads.next, func(r reader) bool { return r.ctx.Err() != nil })
	if len(n.reads.inflight) > 0 {
		if n.reads.age++; n.reads.age > readRetryTicks {
			n.reads.next = append(n.reads.inflight, n.reads.next...)
			n.reads.inflight = nil
		}
	}
	n.publish()
}

func (n *Node) onProposal(p proposal) {
	id := p.entry.GetRequestId()
	if len(n.waiting[id]) == 0 {
		if err := n.replica.Propose(p.entry); err != nil {
			p.done <- Completion{Err: err}
			return
		}
	}
	n.waiting[id] = append(n.waiting[id], p)
}

func (n *Node) complete(c Completion) {
	waiting := n.waiting[c.RequestID]
	delete(n.waiting, c.RequestID)
	for i, p := range waiting {
		switch {
		case i == 0:
			p.done <- c // has room for one
		case p.ctx.Err() == nil:
			n.onProposal(p)
		}
	}
}

func (n *Node) startReads() {
	if len(n.reads.inflight) > 0 || len(n.reads.next) == 0 {
		return
	}
	n.reads.inflight, n.reads.next = n.reads.next, nil
	n.reads.id++
	n.reads.age = 0
	n.replica.ReadIndex(n.reads.id)
}

func (n *Node) finishReads(reads []Read) {
	for _, read := range reads {
		if read.ID != n.reads.id {
			continue // an answer to a question that was given up
		}
		for _, r := range n.reads.inflight {
			n.reads.ready = append(n.reads.ready, readyReader{reader: r, index: read.Index})
		}
		n.reads.inflight = nil
	}
	applied := n.replica.applied
	rest := n.reads.ready[:0]
	for _, r := range n.reads.ready {
		if r.index > applied {
			rest = append(rest, r)
			continue
		}
		r.done <- r.index // has room for one
	}
	n.reads.ready = rest
	n.startReads()
}

// publish makes the status known. Peers' progress is refreshed with every
// tick; all else at once.
func (n *Node) publish() {
	status := n.replica.Status()
	n.applied.Store(status.Applied)
	n.announce(status)
}

func (n *Node) announce(status Status) {
	before := n.status.Swap(&status)
	n.mu.Lock()
	defer n.mu.Unlock()
	if status.HasQuorum || before.HasQuorum {
		n.lastContact = n.clock.Elapsed()
	}
	if status.Term != before.Term || status.Leader != before.Leader || status.Serving != before.Serving ||
		status.Standstills.Due != before.Standstills.Due {
		close(n.changed)
		n.changed = make(chan struct{})
	}
}

// stop hands the leadership over before the replica goes away.
func (n *Node) stop(ctx context.Context) error {
	err := context.Cause(ctx)
	if !n.replica.Status().IsLeader || !n.replica.TransferLeadership() {
		return err
	}
	deadline := n.clock.Elapsed() + transferTime
	timer := n.clock.NewTimer(TickEvery)
	defer timer.Stop()
	for n.replica.Status().IsLeader && n.clock.Elapsed() < deadline {
		if cerr := n.cycle(); cerr != nil {
			return cerr
		}
		select {
		case m := <-n.inbox:
			n.replica.Step(m.message, m.at)
		case <-timer.C():
			n.replica.Tick(n.clock.Elapsed(), processorTime())
			timer.Reset(TickEvery)
		}
	}
	return err
}

// Status of the replica.
func (n *Node) Status() Status {
	status := *n.status.Load()
	status.Applied = n.applied.Load()
	if !status.HasQuorum {
		n.mu.Lock()
		status.SinceContact = NoContact
		if n.lastContact != 0 {
			status.SinceContact = n.clock.Elapsed() - n.lastContact
		}
		n.mu.Unlock()
	}
	return status
}

// Changed is closed at the next change of term, leader, serving, or whether way is to
// be given.
func (n *Node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// Receive takes in a message from the transport. It never blocks: raft repeats
// what gets lost.
func (n *Node) Receive(message *raftpb.Message) {
	select {
	case n.inbox <- arrival{message, n.clock.Elapsed()}:
	default:
	}
}

// Propose commits an entry, which must have a request ID, and returns what the
// state made of it. An error of kind Unavailable or Timeout leaves open whether
// it happened; the same request ID may be repeated.
func (n *Node) Propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error) {
	p := proposal{ctx: ctx, entry: entry, done: make(chan Completion, 1)}
	select {
	case n.proposals <- p:
	case <-ctx.Done():
		return nil, timedOut(ctx)
	case <-n.halted:
		return nil, errHalted
	}
	select {
	case c := <-p.done:
		return c.Outcome, c.Err
	case <-ctx.Done():
		return nil, timedOut(ctx)
	case <-n.halted:
		return nil, errHalted
	}
}

var errHalted = problem.New(problem.Unavailable, "log", "this replica has stopped").WithHint("try again; another node will be asked")

func timedOut(ctx context.Context) error {
	return problem.New(problem.Timeout, "log", "no majority confirmed it in time; it may have happened: %w", ctx.Err()).
		WithHint("repeat it with the same request ID")
}

// ReadIndex returns when the local state holds everything that was
// acknowledged before the call.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	r := reader{ctx: ctx, done: make(chan uint64, 1)}
	select {
	case n.readers <- r:
	case <-ctx.Done():
		return 0, timedOut(ctx)
	case <-n.halted:
		return 0, errHalted
	}
	select {
	case index := <-r.done:
		return index, nil
	case <-ctx.Done():
		return 0, timedOut(ctx)
	case <-n.halted:
		return 0, errHalted
	}
}

// ChangeVoters proposes a change of the voters and returns when raft has taken
// it in; the state shows when it is done.
func (n *Node) ChangeVoters(ctx context.Context, change *sitev1.VoterChange) error {
	return n.do(ctx, func() error { return n.replica.ChangeVoters(change) })
}

// TransferLeadership asks another voter to take over: one of those named, or
// any when none is.
func (n *Node) TransferLeadership(ctx context.Context, may ...uint64) error {
	return n.do(ctx, func() error {
		if !n.replica.TransferLeadership(may...) {
			return problem.New(problem.Conflict, "log", "there is no other voter to take over")
		}
		return nil
	})
}

// GiveWay is Replica.GiveWay.
func (n *Node) GiveWay(ctx context.Context, may []uint64) (to uint64, tried bool, err error) {
	err = n.do(ctx, func() error {
		to, tried = n.replica.GiveWay(may)
		return nil
	})
	return to, tried, err
}

// ReportUnreachable tells that messages to a replica were lost.
func (n *Node) ReportUnreachable(ctx context.Context, id uint64) {
	// Fails only when the node stops; then nobody cares any more.
	_ = n.do(ctx, func() error { n.replica.ReportUnreachable(id); return nil })
}

// ReportSnapshot tells how the sending of a snapshot ended.
func (n *Node) ReportSnapshot(ctx context.Context, id uint64, ok bool) {
	// Fails only when the node stops; then nobody cares any more.
	_ = n.do(ctx, func() error { n.replica.ReportSnapshot(id, ok); return nil })
}

// do runs f in the loop.
func (n *Node) do(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case n.commands <- func() { done <- f() }:
		return <-done
	case <-ctx.Done():
		return timedOut(ctx)
	case <-n.halted:
		return errHalted
	}
}
