// Package dispatcher is the coordinator's side of the agents' sync streams: it
// tells each node what it must run, and brings what nodes report into the log.
//
// It decides nothing. Heartbeats stay in memory; only changes reach the log,
// many reports in one entry.
package dispatcher

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
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
	// OfficeTime is how long a node waits here at most for a coordinator that was
	// elected to take office, or that hands it over to have a successor. A redirect
	// would send it around all voters.
	OfficeTime = time.Second
)

// Log is what the dispatcher needs of the replicated log.
type Log interface {
	Propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error)
	Status() consensus.Status
	// Changed is closed at the next change of the status.
	Changed() <-chan struct{}
}

// Names are the site's endpoints, as differences.
type Names interface {
	// Begin returns the first response for a node that has what the digest tells,
	// and where it then is; none while this voter does not coordinate.
	Begin(digest uint64) (response *sitev1.EndpointsResponse, term, at uint64)
	// Next returns what follows for a node, or what to wait for. over tells that
	// the term has ended.
	Next(term, at uint64) (response *sitev1.EndpointsResponse, to uint64, moved <-chan struct{}, over bool)
}

// Dispatcher serves sync streams. Run must run while it does.
type Dispatcher struct {
	// Time is told to the agents, and Names to those that ask. Set both before the
	// first stream; Names may stay nil.
	Time  func() *sitev1.SiteClock
	Names Names

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

// sync keeps one node's stream until it ends. What it starts is done when
// receiving is: after the connection has ended.
func (d *Dispatcher) sync(ctx context.Context, stream stream, receiving *sync.WaitGroup) error {
	s, err := d.begin(ctx, stream)
	if s == nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer d.hub.enter(s)()
	receiving.Go(func() {
		defer cancel()
		s.receive(ctx)
	})
	return s.why(s.send(ctx))
}

// begin a session with the node at the other end; nil when there can be none.
//
//go:noinline
func (d *Dispatcher) begin(ctx context.Context, stream stream) (*session, error) {
	peer, err := d.caller(ctx)
	if err != nil {
		return nil, err
	}
	status := d.inOffice(ctx)
	if !status.Serving {
		return nil, d.redirect(stream, status)
	}
	s := &session{
		dispatcher: d, peer: peer, node: peer.Name, term: status.Term, stream: stream,
		wake: make(chan struct{}, 1), failed: make(chan error, 1),
	}
	s.dirty.Store(true)
	return s, nil
}

// inOffice is the status of the log once it is clear whether this voter coordinates.
func (d *Dispatcher) inOffice(ctx context.Context) consensus.Status {
	timer := d.clock.NewTimer(OfficeTime)
	defer timer.Stop()
	for {
		changed := d.log.Changed() // before the status that it is about
		status := d.log.Status()
		if status.Serving || !status.IsLeader {
			return status
		}
		select {
		case <-changed:
		case <-timer.C():
			return status
		case <-ctx.Done():
			return status
		}
	}
}

// why a stream ends: because of what the node sent, if nothing else is wrong.
func (s *session) why(err error) error {
	select {
	case failed := <-s.failed:
		return cmp.Or(err, failed)
	default:
		return err
	}
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

func (d *Dispatcher) redirect(stream stream, status consensus.Status) error {
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
	stream     stream
	// acknowledged is the highest report number that is in the log.
	acknowledged atomic.Uint64
	// greeted is set once the node's own view has arrived.
	greeted atomic.Bool
	// names is the digest of the endpoints that the node has; nil when it wants
	// none.
	names atomic.Pointer[uint64]
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

// receive reads what the node sends until the stream ends. How it ends does not
// matter: the agent comes again.
func (s *session) receive(ctx context.Context) {
	for {
		message := &sitev1.SyncRequest{}
		if err := s.stream.Receive(message); err != nil {
			s.refuse(err)
			return
		}
		if err := s.adopt(ctx, message.GetHello()); err != nil {
			s.refuse(err)
			return
		}
		s.dispatcher.hear(s.node)
		var reported *sitev1.NodeReport
		switch m := message.GetMessage().(type) {
		case *sitev1.SyncRequest_Hello:
			reported = m.Hello.GetReport()
			s.names.Store(m.Hello.Endpoints)
			s.greeted.Store(true)
			s.outdated()
		case *sitev1.SyncRequest_Heartbeat:
			if m.Heartbeat.GetClock().IsValid() {
				s.dispatcher.read(s.node, m.Heartbeat.GetClock().AsTime())
			}
		case *sitev1.SyncRequest_Report:
			reported = m.Report
		}
		if reported != nil && s.submit(ctx, reported, message.GetReportNumber()) != nil {
			return
		}
	}
}

// refuse tells the other end what was wrong with what it sent; that it hung up,
// or that nothing comes any more, nobody needs to hear.
func (s *session) refuse(err error) {
	var p *problem.Error
	var c *connect.Error
	if !errors.As(err, &p) && !errors.As(err, &c) {
		return
	}
	select {
	case s.failed <- err:
	default: // one is enough
	}
}

// adopt takes a node into the present site epoch before anything else: orders of a
// site that does not know what it runs would end that.
func (s *session) adopt(ctx context.Context, hello *sitev1.SyncHello) error {
	view := s.dispatcher.store.View()
	if hello == nil || view.Adopted(view.Node(s.node)) {
		return nil
	}
	if hello.GetHoldings().GetSiteEpoch() != view.SiteEpoch() {
		return problem.New(problem.Conflict, "Node/"+s.node, "the site was recovered: it is in site epoch %d now", view.SiteEpoch()).
			WithHint("the node learns of it from the chain of trust, and comes again")
	}
	if theirs := hello.GetHoldings().GetRecovery(); len(theirs) > 0 && !bytes.Equal(theirs, view.RecoverID()) {
		return problem.New(problem.Conflict, "Node/"+s.node, "the site was recovered twice, apart from each other, and it belongs to the other part").
			WithHint("nothing merges; docs/operations.md says how to choose one")
	}
	id := fmt.Sprintf("adopt-%d-%s-%x", view.SiteEpoch(), s.node, s.peer.KeyFingerprint)
	outcome, err := s.dispatcher.log.Propose(ctx, &sitev1.Entry{
		RequestId: id, Principal: "coordinator",
		Change: &sitev1.Entry_AdoptNode{AdoptNode: &sitev1.AdoptNode{Node: s.node, Placements: hello.GetHoldings().GetPlacements()}},
	})
	if err != nil {
		return err
	}
	return state.Refusal(outcome)
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
