package sim

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	realsession "skerry.dev/agent/session"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/orders"
	"skerry.dev/shared/sitetime"
)

// The times of the real shell (agent/session).
const (
	silence      = 2 * time.Second
	helloTimeout = time.Second
	lookTimeout  = 500 * time.Millisecond
	doubt        = 3 * heartbeatEvery
)

// session keeps a stream to the coordinator: the shell around the pure parts
// of agent/session.
type session struct {
	*node
	targets realsession.Targets
	stream  *stream
	sent    *realsession.Sent
	// reader of the orders on the stream.
	reader  orders.Reader
	to      *served
	number  uint64
	address string
	// attempt counts the attempts, and the pauses between them; only the last one
	// counts. waiting: it is a pause.
	attempt int
	waiting bool
	// turned is what the replica here said last of what was acted upon, told where a
	// voter said that another one coordinates.
	turned realsession.Lead
	told   string
	// looking: a voter is asked who coordinates. turn is whose turn it is.
	looking bool
	turn    int
	// began is when this voter was tried.
	began time.Duration
	heard time.Duration
	// contact is when a coordinator was last heard.
	contact time.Duration
	limit   time.Duration
	due     bool
}

func newSession(a *node) *session {
	s := &session{node: a}
	s.connect()
	return s
}

// connect tries the next voter.
func (s *session) connect() {
	s.began = s.host.elapsed()
	s.attempt++
	s.waiting = false
	attempt := s.attempt
	if s.told != "" {
		s.targets.Told(s.told)
		s.told = ""
	}
	if lead := s.lead(); s.isNews(lead) {
		s.turned = lead
		s.targets.Told(lead.Address)
	}
	s.address = s.targets.Next(s.peers(), s.host.name)
	to := s.world.hostByAddress(s.address)
	if s.left {
		return
	}
	if to < 0 {
		s.pause()
		return
	}
	var far *served
	accept := func(opened *stream) func() {
		far = acceptSync(s.world.hosts[to], s.process, opened)
		far.deliver = s.receive
		return far.end
	}
	s.world.net.dial(s.host.index, to, accept, func(opened *stream) {
		if s.dead || s.left || attempt != s.attempt {
			if opened != nil {
				opened.close(0)
			}
			return
		}
		if opened == nil { // it is silent, and says no reason
			s.pause()
			return
		}
		if _, ok := s.admit(far.process.leaf()); !ok {
			opened.close(0)
			s.askWhy(to)
			s.pause()
			return
		}
		s.open(opened, far)
	})
}

func (s *session) pause() {
	s.stream, s.to = nil, nil
	if s.left {
		return
	}
	s.attempt++
	s.waiting = true
	attempt := s.attempt
	var next func()
	next = func() {
		switch {
		case attempt != s.attempt:
		case s.world.has(SlowToFollow) && s.asking:
			s.after(time.Millisecond, next)
		default:
			s.connect()
		}
	}
	s.after(s.targets.Pause(s.rng.Uint64(), s.host.elapsed()-s.began), next)
}

// lead is what the replica here knows of the coordinator.
func (p *process) lead() realsession.Lead {
	if p.voter == nil || p.voter.halted {
		return realsession.Lead{}
	}
	return realsession.Lead{Term: p.voter.last.Term, Address: p.voter.store.View().NodeOfReplica(p.voter.last.Leader).GetAddress()}
}

func (s *session) isNews(lead realsession.Lead) bool {
	return lead.Address != "" && lead != s.turned && lead.Term >= s.ledger.Current().GetOrder().GetTerm() && !s.world.has(SlowToFollow)
}

// leadChanged turns to whom the replica here knows of.
func (s *session) leadChanged() {
	lead := s.lead()
	if s.left || !s.isNews(lead) {
		return
	}
	if lead.Address == s.address && !s.waiting {
		s.turned = lead
		return
	}
	if s.stream != nil {
		s.stream.close(0)
		s.stream, s.to = nil, nil
	}
	s.connect()
}

// lookAround asks another voter who coordinates.
func (s *session) lookAround(opened *stream) {
	others := realsession.Others(s.peers(), s.host.name, s.address)
	if s.looking || len(others) == 0 || s.world.has(SlowToFollow) {
		return
	}
	s.looking = true
	s.turn++
	answered := false
	done := func(address string) {
		if answered || s.dead || s.stream != opened {
			return
		}
		answered, s.looking = true, false
		if address != "" && address != s.address && s.world.kernel.now-s.heard >= doubt {
			s.told = address
			s.hangUp()
		}
	}
	s.after(lookTimeout, func() { done("") })
	to := s.world.hostByAddress(others[s.turn%len(others)])
	if to < 0 {
		return
	}
	net := s.world.net
	net.datagram(s.host.index, to, 'q', func() {
		other := s.world.hosts[to].process
		if !other.connects(s.process) {
			return
		}
		known := other.lead().Address
		net.datagram(to, s.host.index, 'Q', func() { done(known) })
	})
}

// open begins with all that is known of this node.
func (s *session) open(opened *stream, far *served) {
	s.stream, s.to = opened, far
	opened.ends[0].onClose = func() { s.closed(opened) }
	report := &sitev1.NodeReport{Node: s.host.name, Placements: s.reports(), Facts: s.facts()}
	s.sent, s.reader = realsession.NewSent(report), orders.Reader{}
	s.number, s.looking = 1, false
	s.heard, s.limit = s.world.kernel.now, helloTimeout
	s.say(&sitev1.SyncRequest{ReportNumber: 1, Message: &sitev1.SyncRequest_Hello{Hello: &sitev1.SyncHello{
		Node: s.host.name, Seen: s.ledger.Current().GetOrder(), Report: report,
	}}})
	s.beat(opened)
}

// beat sends heartbeats and ends a stream that nothing comes from.
func (s *session) beat(opened *stream) {
	s.after(heartbeatEvery, func() {
		if s.stream != opened {
			return
		}
		if s.world.kernel.now-s.heard > s.limit {
			if s.world.has(SlowToFollow) {
				s.askWhy(s.to.process.host.index)
				s.told = s.address
			}
			s.hangUp()
			return
		}
		if s.world.kernel.now-s.heard >= doubt {
			s.lookAround(opened)
		}
		s.say(&sitev1.SyncRequest{Message: &sitev1.SyncRequest_Heartbeat{
			Heartbeat: &sitev1.SyncHeartbeat{Clock: timestamppb.New(s.host.now())},
		}})
		s.beat(opened)
	})
}

// changed looks soon for what to report.
func (s *session) changed() {
	if s.due || s.stream == nil {
		return
	}
	s.due = true
	s.after(time.Millisecond, func() {
		s.due = false
		if s.stream == nil {
			return
		}
		report := s.sent.Difference(s.reports(), s.facts())
		if report == nil {
			return
		}
		report.Node = s.host.name
		s.number++
		s.say(&sitev1.SyncRequest{ReportNumber: s.number, Message: &sitev1.SyncRequest_Report{Report: report}})
	})
}

// reports of this node, unless a bug is planted.
func (s *session) reports() []*sitev1.PlacementReport {
	reports := s.core.Reports()
	for _, report := range reports {
		switch phase := report.GetStatus().GetPhase(); {
		case s.world.has(GoodEnds) && phase == skerryv1.Phase_PHASE_FAILED:
			report.Status.Phase = skerryv1.Phase_PHASE_STOPPED
		case s.world.has(EarlyGone) && phase == skerryv1.Phase_PHASE_STOPPING:
			report.Gone = true
		}
	}
	return reports
}

func (s *session) say(request *sitev1.SyncRequest) {
	data, far := encode(request), s.to
	s.stream.send(0, digest(data), func() {
		received := &sitev1.SyncRequest{}
		decode(data, received)
		far.receive(received)
	})
}

// receive takes in what the coordinator says on the present stream.
func (s *session) receive(from *served, response *sitev1.SyncResponse) {
	if s.dead || s.to != from {
		return
	}
	s.heard, s.limit = s.world.kernel.now, silence
	if response.GetClock() != nil { // before the orders: they may ask for a new CA
		s.self.SiteTime().Observe(sitetime.FromMessage(response.GetClock()))
	}
	switch m := response.GetMessage().(type) {
	case *sitev1.SyncResponse_Redirect:
		s.targets.Redirected(m.Redirect.GetAddress())
		s.hangUp()
		return
	case *sitev1.SyncResponse_Assignments:
		whole, err := s.reader.Read(response)
		if err == nil {
			err = s.accept(whole)
		}
		if err != nil {
			s.world.trace.note(s.host.name, "orders from %s refused: %v", s.address, err)
			s.hangUp()
			return
		}
		if s.left || s.to != from {
			return
		}
	}
	s.contact = s.world.kernel.now
	s.targets.Worked(s.address)
}

func (s *session) hangUp() {
	s.stream.close(0)
	s.pause()
}

// closed is told when the stream broke by itself.
func (s *session) closed(which *stream) {
	if s.stream == which && !s.dead {
		s.askWhy(which.ends[1].host)
		s.pause()
	}
}
