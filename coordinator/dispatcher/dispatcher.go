// Package dispatcher is the coordinator's side of the agents' sync streams: it
// tells each node what it must run, and brings what nodes report into the log.
//
// It decides nothing. Heartbeats stay in memory; only changes reach the log,
// many reports in one entry.
package dispatcher

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/wire"
)

const (
	// heartbeatEvery is how often each side of a stream is heard at least.
	heartbeatEvery = 200 * time.Millisecond
	// settle is how long changes gather before a node's orders are computed
	// again, so that a burst of writes costs one computation.
	settle = 5 * time.Millisecond
	// paceEach open stream adds to the pace of all: 2 s with 5,000.
	paceEach = 400 * time.Microsecond
	// Messages of more than largeFrom bytes are sent to at most maxLarge nodes at
	// once: when all come at the same moment, the peers for each of them are in
	// memory while they are sent.
	largeFrom = 32 << 10
	maxLarge  = 32
)

// Log is what the dispatcher needs of the replicated log.
type Log interface {
	Propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error)
	Status() consensus.Status
	// Changed is closed at the next change of the status.
	Changed() <-chan struct{}
}

// Dispatcher serves sync streams. Run must run while it does.
type Dispatcher struct {
	// Time is told to the agents. Set it before the first stream.
	Time func() *sitev1.SiteClock

	log     Log
	store   *state.Store
	secrets *secrets.Keeper
	clock   env.Clock
	logger  *slog.Logger
	reports chan report
	hub     *hub
	large   chan struct{}

	mu    sync.Mutex
	heard map[string]time.Duration
	// clocks are the nodes' wall clocks as they last told them.
	clocks map[string]Reading
}

// Reading is what a node's wall clock showed when it was heard.
type Reading struct {
	Wall  time.Time
	Heard time.Duration
}

// New returns a dispatcher; it starts nothing.
func New(log Log, store *state.Store, keeper *secrets.Keeper, clock env.Clock, logger *slog.Logger) *Dispatcher {
	return &Dispatcher{
		log:     log,
		store:   store,
		secrets: keeper,
		clock:   clock,
		logger:  logger,
		reports: make(chan report, maxQueued),
		hub:     newHub(store.View()),
		large:   make(chan struct{}, maxLarge),
		heard:   map[string]time.Duration{},
		clocks:  map[string]Reading{},
		Time:    func() *sitev1.SiteClock { return nil },
	}
}

// Heard tells of each node when it was last heard, on the clock's elapsed time.
func (d *Dispatcher) Heard(tell func(node string, at time.Duration)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for node, at := range d.heard {
		tell(node, at)
	}
}

// Pace is how often a node is heard that has nothing to say.
func (d *Dispatcher) Pace() time.Duration { return d.hub.pace() }

// Reported are the nodes with a stream that has brought all they say of themselves
// into the log.
func (d *Dispatcher) Reported() []string { return d.hub.reported() }

// Clocks tells what each node's wall clock last showed.
func (d *Dispatcher) Clocks() map[string]Reading {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.clocks)
}

// Clock tells what a node's wall clock last showed; false when it never told.
func (d *Dispatcher) Clock(node string) (Reading, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	reading, heard := d.clocks[node]
	return reading, heard
}

func (d *Dispatcher) read(node string, wall time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clocks[node] = Reading{Wall: wall, Heard: d.clock.Elapsed()}
}

func (d *Dispatcher) hear(node string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard[node] = d.clock.Elapsed()
}

// Sync implements sitev1connect.SyncServiceHandler.
func (d *Dispatcher) Sync(ctx context.Context, stream *connect.BidiStream[sitev1.SyncRequest, sitev1.SyncResponse]) error {
	peer, err := d.caller(ctx)
	if err != nil {
		return problem.ToConnect(err)
	}
	status := d.log.Status()
	if !status.Serving {
		return d.redirect(stream, status)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{
		dispatcher: d, peer: peer, node: peer.Name, term: status.Term, stream: stream,
		wake: make(chan struct{}, 1), failed: make(chan error, 1),
	}
	s.dirty.Store(true)
	defer d.hub.enter(s)()
	received := make(chan error, 1)
	go func() {
		// Ends with the call: Receive fails once the handler has returned.
		err := s.receive(ctx)
		cancel()
		received <- err
	}()
	err = s.send(ctx)
	cancel()
	select {
	case rerr := <-received:
		if err == nil {
			err = rerr
		}
	default: // still in Receive; it ends when this handler returns
	}
	if err != nil {
		return problem.ToConnect(err)
	}
	return nil
}

// caller is the node at the other end: it must be in the site's records, with
// the key that is written there.
func (d *Dispatcher) caller(ctx context.Context) (certs.Peer, error) {
	peer, ok := mtls.PeerFrom(ctx)
	if !ok || peer.Role != certs.RoleNode {
		return certs.Peer{}, problem.New(problem.Forbidden, "sync", "only nodes may sync")
	}
	return peer, CheckNode(d.store.View(), peer)
}

// CheckNode refuses a peer that is not, or no longer, a node of the site.
func CheckNode(view *state.View, peer certs.Peer) error {
	node := view.Node(peer.Name)
	if node == nil || string(node.GetKeyFingerprint()) != string(peer.KeyFingerprint) {
		return problem.New(problem.Forbidden, "Node/"+peer.Name, "the site has no record of this node with this key").
			WithHint("join it again with a new token")
	}
	if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return problem.New(problem.Forbidden, "Node/"+peer.Name, "the node was evicted from the site")
	}
	return nil
}

func (d *Dispatcher) redirect(stream *connect.BidiStream[sitev1.SyncRequest, sitev1.SyncResponse], status consensus.Status) error {
	redirect := &sitev1.SyncRedirect{}
	if node := d.store.View().NodeOfReplica(status.Leader); node != nil {
		redirect.Coordinator, redirect.Address = node.GetName(), node.GetAddress()
	}
	return stream.Send(&sitev1.SyncResponse{Message: &sitev1.SyncResponse_Redirect{Redirect: redirect}})
}

// session is one node's stream.
type session struct {
	dispatcher *Dispatcher
	peer       certs.Peer
	node       string
	term       uint64
	stream     *connect.BidiStream[sitev1.SyncRequest, sitev1.SyncResponse]
	// acknowledged is the highest report number that is in the log.
	acknowledged atomic.Uint64
	// greeted is set once the node's own view has arrived.
	greeted atomic.Bool
	// dirty is set when the orders may have changed.
	dirty atomic.Bool
	wake  chan struct{}
	// votes: the node holds a replica. It belongs to send.
	votes bool
	// failed holds why a report did not get into the log: the agent, which
	// sends only what changes, begins anew with everything.
	failed chan error
}

func (s *session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// outdated: the orders may have changed.
func (s *session) outdated() {
	s.dirty.Store(true)
	s.poke()
}

// receive reads what the node sends until the stream ends.
func (s *session) receive(ctx context.Context) error {
	for {
		wire.Await(ctx)
		message, err := s.stream.Receive()
		if err != nil {
			return nil // how a stream ends does not matter: the agent comes again
		}
		s.dispatcher.hear(s.node)
		var reported *sitev1.NodeReport
		switch m := message.GetMessage().(type) {
		case *sitev1.SyncRequest_Hello:
			reported = m.Hello.GetReport()
			s.greeted.Store(true)
			s.outdated()
		case *sitev1.SyncRequest_Heartbeat:
			if m.Heartbeat.GetClock().IsValid() {
				s.dispatcher.read(s.node, m.Heartbeat.GetClock().AsTime())
			}
		case *sitev1.SyncRequest_Report:
			reported = m.Report
		}
		if reported == nil {
			continue
		}
		if err := s.submit(ctx, reported, message.GetReportNumber()); err != nil {
			return err
		}
	}
}

// submit queues a report. A node reports for itself alone: whatever name it
// gives is replaced by the one of its SVID.
func (s *session) submit(ctx context.Context, reported *sitev1.NodeReport, number uint64) error {
	reported.Node = s.node
	r := report{report: reported, done: func(err error) {
		if err != nil {
			select {
			case s.failed <- err:
			default: // one is enough
			}
			return
		}
		s.acknowledged.Store(max(number, s.acknowledged.Load()))
		s.poke()
	}}
	select {
	case s.dispatcher.reports <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Gone tells why a node that was removed since its stream began gets no more than
// the orders of now: they tell its agent that it holds no replica any more, which
// is so once the voters have changed. err is why it must not even get them.
func Gone(view *state.View, peer certs.Peer) (gone, err error) {
	refused := CheckNode(view, peer)
	node := view.Node(peer.Name)
	switch {
	case refused == nil:
		return nil, nil
	case string(node.GetKeyFingerprint()) != string(peer.KeyFingerprint):
		return nil, refused
	case node.GetRaftId() != 0:
		return nil, nil
	default:
		return refused, nil
	}
}
