// Package session is the agent's side of the sync stream: it finds the
// coordinator, brings it what changed on this node, and puts the orders that
// come back into the ledger.
package session

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/orders"
	"skerry.dev/shared/sitetime"
)

const (
	// heartbeatEvery is how often the coordinator hears of this node at least,
	// unless it asks for less.
	heartbeatEvery = 200 * time.Millisecond
	// maxPace is the most that it can ask for.
	maxPace = 10 * time.Second
	// silence of the coordinator after which another one is looked for; at least
	// so many times the pace.
	silence      = 2 * time.Second
	silencePaces = 3
	// helloTimeout bounds the wait for the first answer of a voter.
	helloTimeout = time.Second
	// MaxMessage bounds one message of a stream, in bytes.
	MaxMessage = 64 << 20
	// askEvery is how often a voter is asked why there is no stream, at most.
	askEvery = time.Second
	// doubtPaces of silence are the time after which other voters are asked whether
	// there is another coordinator, one at each pace.
	doubtPaces = 3
	// slowestDisk is how long orders may take to be kept: one that takes longer hangs.
	slowestDisk = 10 * time.Second
	// lookTimeout bounds the question to one of them.
	lookTimeout = 500 * time.Millisecond
)

// Lead is what the replica of this node knows of the coordinator.
type Lead struct {
	// Term in which it was elected, Address where it is; empty when there is none, or
	// no replica here.
	Term    uint64
	Address string
}

// Ledger keeps the orders.
type Ledger interface {
	Current() *sitev1.Assignments
	// Accept refuses orders of a coordinator that has been replaced.
	Accept(*sitev1.Assignments) error
	// Holdings are what the node runs by orders of an earlier site epoch; nil when
	// its orders are of the present one.
	Holdings() *sitev1.Holdings
}

// Node is what the session reports on.
type Node interface {
	// Reports are how all placements are; Facts describe the node. Changed is
	// closed when either may have changed.
	Reports() []*sitev1.PlacementReport
	Facts() *sitev1.NodeFacts
	Changed() <-chan struct{}
}

// Names is a copy of the site's endpoints.
type Names interface {
	Digest() uint64
	// Take takes in what the coordinator sent.
	Take(*sitev1.EndpointsResponse) error
}

// Config of a session. All fields are required.
type Config struct {
	// Name of this node.
	Name   string
	Ledger Ledger
	Node   Node
	// SiteTime is told what the coordinator says.
	SiteTime *sitetime.Keeper
	// Names is the node's copy of the site's endpoints.
	Names Names
	// Dial opens a connection to a voter.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Refused is told of voters with which there is no stream: they may say why.
	// It is bounded by itself.
	Refused func(ctx context.Context, address string)
	// Lead is what the replica here knows; changed is closed when that has changed.
	Lead   func() (lead Lead, changed <-chan struct{})
	Env    env.System
	Logger *slog.Logger
}

// Session keeps a stream to the coordinator.
type Session struct {
	Config
	targets Targets
	// asked is when Refused was called last; it belongs to Run. asking is taken while it
	// is under way.
	asked  time.Duration
	asking chan struct{}
	// turned is what the replica here said last of what was acted upon. It belongs to
	// Run and the attempt that it makes.
	turned Lead
	// ordered is closed with the first orders.
	once    sync.Once
	ordered chan struct{}

	mu          sync.Mutex
	coordinator string
	// moves is closed when coordinator changes.
	moves chan struct{}
	// told is where a coordinator says that it is, to be tried next.
	told        string
	lastContact time.Duration // 0 before the first
	pace        time.Duration
}

// New returns a session; Run makes it look for the coordinator.
func New(config Config) *Session {
	return &Session{
		Config: config, ordered: make(chan struct{}), asking: make(chan struct{}, 1), moves: make(chan struct{}),
		pace: heartbeatEvery,
	}
}

// Ordered is closed when the first orders of this process are in the ledger.
func (s *Session) Ordered() <-chan struct{} { return s.ordered }

// Coordinator is the address of the coordinator while there is contact; empty
// otherwise.
func (s *Session) Coordinator() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.coordinator
}

// Contact is Coordinator, and what is closed when that changes.
func (s *Session) Contact() (address string, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.coordinator, s.moves
}

// LastContact is when the coordinator was last heard, on elapsed time; 0 before
// the first time.
func (s *Session) LastContact() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastContact
}

// Try an address next: a coordinator of which the peers do not know says that it is
// there.
func (s *Session) Try(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = address
}

// moved: another coordinator has said where it is.
func (s *Session) moved(from string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told != "" && s.told != from
}

func (s *Session) pointed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told
	s.told = ""
	return told
}

func (s *Session) contact(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastContact = s.Env.Clock.Elapsed()
	s.setCoordinator(address)
}

func (s *Session) lost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setCoordinator("")
}

// setCoordinator needs mu.
func (s *Session) setCoordinator(address string) {
	if s.coordinator == address {
		return
	}
	s.coordinator = address
	close(s.moves)
	s.moves = make(chan struct{})
}

// setPace takes over how long either side may be silent.
func (s *Session) setPace(pace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace = min(max(heartbeatEvery, pace), maxPace)
}

func (s *Session) getPace() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pace
}

// Run tries voter after voter, for ever, until ctx ends.
func (s *Session) Run(ctx context.Context) error {
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		if to := s.pointed(); to != "" {
			s.targets.Told(to)
		}
		lead, changed := s.Lead()
		if s.isNews(lead) {
			s.turned = lead
			s.targets.Told(lead.Address)
		}
		address := s.targets.Next(s.Ledger.Current().GetPeers(), s.Name)
		began := s.Env.Clock.Elapsed()
		if address != "" {
			err := s.sync(ctx, address)
			s.lost()
			if ctx.Err() == nil {
				s.Logger.Debug("the stream to a voter ended", "address", address, "reason", err)
				s.refused(ctx, &asking, address, err)
			}
			lead, changed = s.Lead()
		}
		pause := s.targets.Pause(s.Env.Rand.Uint64(), s.Env.Clock.Elapsed()-began)
		if err := s.wait(ctx, pause, lead, changed); err != nil {
			return err
		}
	}
}

// isNews: the replica here knows of another coordinator than before, which is not
// behind the orders of this node.
func (s *Session) isNews(lead Lead) bool {
	return lead.Address != "" && lead != s.turned && lead.Term >= s.Ledger.Current().GetOrder().GetTerm()
}

// wait before the next attempt, but no longer than until the replica here knows whom to
// turn to.
func (s *Session) wait(ctx context.Context, pause time.Duration, lead Lead, changed <-chan struct{}) error {
	timer := s.Env.Clock.NewTimer(pause)
	defer timer.Stop()
	for !s.isNews(lead) {
		select {
		case <-changed:
			lead, changed = s.Lead()
		case <-timer.C():
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return ctx.Err()
}

// refused passes on who ended a stream, now and then. The next attempt does not wait
// for what comes of that. A node that is silent does not say why, and is not asked: it
// would keep those who do from their turn.
func (s *Session) refused(ctx context.Context, asking *sync.WaitGroup, address string, reason error) {
	now := s.Env.Clock.Elapsed()
	if errors.Is(reason, errRedirected) || errors.Is(reason, errElsewhere) || errors.Is(reason, errSilent) || now-s.asked < askEvery {
		return
	}
	select {
	case s.asking <- struct{}{}:
	default:
		return // the last question is not answered yet
	}
	s.asked = now
	asking.Go(func() {
		defer func() { <-s.asking }()
		s.Refused(ctx, address)
	})
}

// errRedirected ends a stream to a voter that is not the coordinator.
var errRedirected = errors.New("the voter is not the coordinator")

// errMoved ends a stream to a coordinator whose site epoch is over.
var errMoved = errors.New("the site was recovered, and its coordinator is elsewhere")

// errSilent ends a stream, or an attempt, because nothing came.
var errSilent = errors.New("nothing was heard from it")

// errElsewhere ends a stream, or an attempt, because another one was elected.
var errElsewhere = errors.New("another voter coordinates by now")

// sync keeps one stream until it ends, or until the replica here knows of another
// coordinator.
func (s *Session) sync(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var watching sync.WaitGroup
	watching.Go(func() {
		if s.watchLead(ctx, address) {
			cancel(errElsewhere)
		}
	})
	err := s.stream(ctx, address)
	if errors.Is(context.Cause(ctx), errElsewhere) {
		err = errElsewhere
	}
	cancel(nil)
	watching.Wait()
	return err
}

// watchLead returns true as soon as the replica here knows of a coordinator that is not
// at the address.
func (s *Session) watchLead(ctx context.Context, address string) bool {
	for {
		lead, changed := s.Lead()
		if s.isNews(lead) {
			if lead.Address != address {
				return true
			}
			s.turned = lead
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// stream keeps one until it ends.
func (s *Session) stream(ctx context.Context, address string) error {
	dialCtx, dialed := context.WithTimeout(ctx, helloTimeout)
	conn, err := s.Dial(dialCtx, address)
	if err != nil && dialCtx.Err() != nil {
		err = errors.Join(errSilent, err)
	}
	if dialed(); err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the stream is over whatever this says
	group, ctx := errgroup.WithContext(ctx)
	stream := mtls.NewMessages(conn, MaxMessage, 0)
	streamCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(streamCtx, func() { _ = conn.Close() }) // so that nothing waits for it any more
	defer stop()
	s.setPace(heartbeatEvery)
	heard := make(chan struct{}, 1)
	group.Go(func() error {
		defer cancel()
		return s.receive(stream, address, heard)
	})
	group.Go(func() error {
		defer cancel()
		return s.send(streamCtx, stream)
	})
	group.Go(func() error {
		defer cancel()
		return s.watchSilence(streamCtx, address, heard)
	})
	return group.Wait()
}

// watchSilence ends a stream that nothing comes from any more. Before that it asks
// around whether another one coordinates.
func (s *Session) watchSilence(ctx context.Context, address string, heard <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel()
	limit := helloTimeout
	timer, doubt := s.Env.Clock.NewTimer(limit), s.Env.Clock.NewTimer(limit)
	defer timer.Stop()
	defer doubt.Stop()
	found := make(chan string, 1)
	turn, underWay, inDoubt := s.Env.Rand.Uint64(), false, false
	for {
		select {
		case <-heard:
			inDoubt = false
			limit = max(silence, silencePaces*s.getPace())
			timer.Reset(limit)
			doubt.Reset(doubtPaces * s.getPace())
		case <-doubt.C():
			inDoubt = true
			others := Others(s.Ledger.Current().GetPeers(), s.Name, address)
			if underWay || len(others) == 0 {
				continue
			}
			underWay, turn = true, turn+1
			looking.Go(func() { found <- s.whoCoordinates(ctx, others[turn%uint64(len(others))]) })
		case elsewhere := <-found:
			underWay = false
			if !inDoubt {
				continue
			}
			if elsewhere != "" && elsewhere != address {
				s.Try(elsewhere)
				return errElsewhere
			}
			doubt.Reset(s.getPace())
		case <-timer.C():
			return errSilent
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// whoCoordinates asks one voter where the coordinator is; empty when it does not tell.
func (s *Session) whoCoordinates(ctx context.Context, voter string) string {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, err := s.Dial(ctx, voter)
	if err != nil {
		return ""
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // nobody waits for its answer any more
	defer func() {
		if stop() {
			_ = conn.Close() // it has answered
		}
	}()
	answer := &sitev1.SyncResponse{}
	if err := mtls.NewMessages(conn, MaxMessage, 0).Receive(answer); err != nil {
		return ""
	}
	switch m := answer.GetMessage().(type) {
	case *sitev1.SyncResponse_Redirect:
		return m.Redirect.GetAddress()
	case *sitev1.SyncResponse_End:
		return ""
	default:
		return voter // it takes nodes itself
	}
}

func (s *Session) receive(stream *mtls.Messages, address string, heard chan<- struct{}) error {
	var reader orders.Reader
	for {
		message := &sitev1.SyncResponse{}
		if err := stream.Receive(message); err != nil {
			return err
		}
		if s.moved(address) {
			return errMoved
		}
		s.setPace(message.GetPace().AsDuration())
		signal(heard)
		if message.GetClock() != nil { // before the orders: they may ask for a new CA
			s.SiteTime.Observe(sitetime.FromMessage(message.GetClock()))
		}
		if message.GetEndpoints() != nil {
			if err := s.Names.Take(message.GetEndpoints()); err != nil {
				return err
			}
		}
		switch m := message.GetMessage().(type) {
		case *sitev1.SyncResponse_End:
			return orders.Reason(m.End)
		case *sitev1.SyncResponse_Redirect:
			s.targets.Redirected(m.Redirect.GetAddress())
			return errRedirected
		case *sitev1.SyncResponse_Assignments:
			whole, err := reader.Read(message)
			if err != nil {
				return err
			}
			if err := s.accept(whole, heard); err != nil {
				return err
			}
			s.once.Do(func() { close(s.ordered) })
		}
		s.targets.Worked(address)
		s.contact(address)
	}
}

// accept keeps orders. While a slow disk takes them it is not the coordinator that is
// silent; of a disk that hangs it learns, for this node does not follow it any more.
func (s *Session) accept(whole *sitev1.Assignments, heard chan<- struct{}) error {
	kept := make(chan error, 1)
	go func() { kept <- s.Ledger.Accept(whole) }()
	timer := s.Env.Clock.NewTimer(s.getPace())
	defer timer.Stop()
	for begun := s.Env.Clock.Elapsed(); ; {
		select {
		case err := <-kept:
			return err
		case <-timer.C():
			if s.Env.Clock.Elapsed()-begun < slowestDisk {
				signal(heard)
				timer.Reset(s.getPace())
			}
		}
	}
}

func signal(heard chan<- struct{}) {
	select {
	case heard <- struct{}{}:
	default:
	}
}

// send begins with all that is known of this node, then sends what changes.
func (s *Session) send(ctx context.Context, stream *mtls.Messages) error {
	changed := s.Node.Changed()
	report := &sitev1.NodeReport{Node: s.Name, Placements: s.Node.Reports(), Facts: s.Node.Facts()}
	sent := NewSent(report)
	err := stream.Send(&sitev1.SyncRequest{ReportNumber: 1, Message: &sitev1.SyncRequest_Hello{Hello: &sitev1.SyncHello{
		Node: s.Name, Seen: s.Ledger.Current().GetOrder(), Report: report, Endpoints: proto.Uint64(s.Names.Digest()),
		Holdings: s.Ledger.Holdings(),
	}}})
	timer := s.Env.Clock.NewTimer(heartbeatEvery)
	defer timer.Stop()
	for number := uint64(2); err == nil; {
		select {
		case <-changed:
			changed = s.Node.Changed()
			difference := sent.Difference(s.Node.Reports(), s.Node.Facts())
			if difference == nil {
				continue
			}
			difference.Node = s.Name
			err = stream.Send(&sitev1.SyncRequest{ReportNumber: number, Message: &sitev1.SyncRequest_Report{Report: difference}})
			number++
		case <-timer.C():
			timer.Reset(s.getPace())
			err = stream.Send(&sitev1.SyncRequest{Message: &sitev1.SyncRequest_Heartbeat{
				Heartbeat: &sitev1.SyncHeartbeat{Clock: timestamppb.New(s.Env.Clock.Now())},
			}})
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// Sent remembers what a stream has carried, so that only changes follow. A
// report that the coordinator could not commit ends the stream, and the next
// one begins with everything.
type Sent struct {
	placements map[placement]*sitev1.PlacementReport
	facts      *sitev1.NodeFacts
}

// NewSent begins with the report that the stream began with.
func NewSent(report *sitev1.NodeReport) *Sent {
	s := &Sent{facts: report.GetFacts()}
	s.keep(report.GetPlacements())
	return s
}

// placement is the key of one.
type placement struct{ project, name string }

func key(p *sitev1.PlacementReport) placement { return placement{p.GetProject(), p.GetPlacement()} }

func (s *Sent) keep(reports []*sitev1.PlacementReport) {
	s.placements = make(map[placement]*sitev1.PlacementReport, len(reports))
	for _, p := range reports {
		s.placements[key(p)] = p
	}
}

// Difference is what has changed since; nil when nothing has.
func (s *Sent) Difference(now []*sitev1.PlacementReport, facts *sitev1.NodeFacts) *sitev1.NodeReport {
	report := &sitev1.NodeReport{}
	for _, p := range now {
		if !sameReport(p, s.placements[key(p)]) {
			report.Placements = append(report.Placements, p)
		}
	}
	if len(report.GetPlacements()) > 0 || len(now) != len(s.placements) {
		s.keep(now)
	}
	if !sameFacts(facts, s.facts) {
		report.Facts, s.facts = facts, facts
	}
	if report.GetFacts() == nil && len(report.GetPlacements()) == 0 {
		return nil
	}
	return report
}
