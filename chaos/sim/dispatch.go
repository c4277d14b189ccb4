package sim

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	"skerry.dev/coordinator/dispatcher"
	"skerry.dev/coordinator/secrets"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

const (
	heartbeatEvery = 200 * time.Millisecond
	// settle is how long changes gather before orders are made anew.
	settle = 5 * time.Millisecond
	// maxBatch reports go into one entry.
	maxBatch = 256
	// officeLook is how often it is looked whether who was elected is in office.
	officeLook = 10 * time.Millisecond
)

// pendingReport waits for the log.
type pendingReport struct {
	report *sitev1.NodeReport
	done   func(ok bool)
}

// served is a voter's end of one agent's stream, as coordinator/dispatcher is
// in production.
type served struct {
	process *process
	// lead is nil on a voter that only redirects, or until it takes office; early is what
	// the agent said before.
	lead         *coordinator
	early        []*sitev1.SyncRequest
	node         string
	peer         certs.Peer
	leaf         *x509.Certificate
	stream       *stream
	closed       bool
	greeted      bool
	acknowledged uint64
	// told is what the agent has been told of acknowledged.
	told uint64
	// last are the prints of the orders that were sent last: the node's own, and what
	// all nodes share.
	last [2]dispatcher.Fingerprint
	// seen of the state by this stream.
	seen outlook
	// delivery is what the stream has carried of secrets.
	delivery *secrets.Delivery
	sentAt   time.Duration
	due      bool
	// deliver hands a response to the agent's end.
	deliver func(*served, *sitev1.SyncResponse)
}

// acceptSync takes the stream of an agent on a host.
func acceptSync(h *host, from *process, opened *stream) *served {
	s := &served{process: h.process, node: from.host.name, leaf: from.leaf(), stream: opened}
	v := h.process.voter
	peer, ok := h.process.admit(s.leaf)
	s.peer = peer
	if !ok || v == nil || dispatcher.CheckNode(v.store.View(), peer) != nil {
		h.process.after(0, s.refuse)
		return s
	}
	s.begin(h.world.kernel.now + dispatcher.OfficeTime)
	return s
}

// begin with the coordinator here, if there is one; one that is elected and not yet in
// office is waited for, and what the agent says until then.
func (s *served) begin(until time.Duration) {
	v := s.process.voter
	switch {
	case s.closed || s.process.dead:
	case v == nil || v.lead == nil && (!v.replica.Brief().IsLeader || s.process.world.kernel.now >= until):
		s.process.after(0, s.redirect)
	case v.lead == nil:
		s.process.after(officeLook, func() { s.begin(until) })
	default:
		s.lead = v.lead
		s.lead.served = append(s.lead.served, s)
		s.beat()
		for _, message := range s.early {
			s.receive(message)
		}
		s.early = nil
	}
}

func (s *served) over() bool { return s.closed || s.process.dead || s.lead == nil || s.lead.over() }

// beat looks for something to tell as often as the agent must be told anything.
func (s *served) beat() {
	if s.over() {
		return
	}
	s.tell()
	s.process.after(heartbeatEvery, s.beat)
}

// receive takes in what the agent says.
func (s *served) receive(message *sitev1.SyncRequest) {
	if s.lead == nil && !s.closed {
		s.early = append(s.early, message)
	}
	if s.over() {
		return
	}
	s.lead.heard[s.node] = s.lead.host.elapsed()
	var reported *sitev1.NodeReport
	switch m := message.GetMessage().(type) {
	case *sitev1.SyncRequest_Heartbeat:
		s.lead.clocks[s.node] = reading{wall: m.Heartbeat.GetClock().AsTime(), heard: s.lead.host.elapsed()}
	case *sitev1.SyncRequest_Hello:
		reported = m.Hello.GetReport()
		s.greeted = true
		s.push()
	case *sitev1.SyncRequest_Report:
		reported = m.Report
	}
	if reported == nil {
		return
	}
	reported.Node = s.node
	number := message.GetReportNumber()
	s.lead.reports = append(s.lead.reports, pendingReport{report: reported, done: func(ok bool) {
		if !ok { // the agent, which sends only what changes, begins anew
			s.refuse()
			return
		}
		s.judgeTold(reported)
		s.acknowledged = max(number, s.acknowledged)
		s.push()
	}})
	s.lead.commitReports()
}

// commitReports brings what waits into the log, one batch at a time.
func (c *coordinator) commitReports() {
	if c.committing || len(c.reports) == 0 {
		return
	}
	batch := slices.Clone(c.reports[:min(maxBatch, len(c.reports))])
	c.reports = c.reports[len(batch):]
	status := &sitev1.StatusBatch{}
	for _, r := range batch {
		status.Reports = append(status.Reports, c.world.reported(r.report))
	}
	c.batches++
	c.committing = true
	c.commit(&sitev1.Entry{
		RequestId: fmt.Sprintf("status-%d-%d-%d", c.term, c.host.elapsed(), c.batches),
		Principal: "coordinator",
		Change:    &sitev1.Entry_StatusBatch{StatusBatch: status},
	}, func(_ *sitev1.Outcome, ok bool) {
		c.committing = false
		for _, r := range batch {
			r.done(ok)
		}
		c.commitReports()
	})
}

// push looks soon for what the agent has to be told.
func (s *served) push() {
	if s.due || s.over() {
		return
	}
	s.due = true
	s.process.after(settle, func() {
		s.due = false
		s.tell()
	})
}

func (s *served) tell() {
	if s.over() {
		return
	}
	gone, err := dispatcher.Gone(s.lead.store.View(), s.peer)
	if err != nil {
		s.refuse()
		return
	}
	if gone != nil {
		defer s.refuse()
	}
	response := &sitev1.SyncResponse{Acknowledged: s.acknowledged}
	if s.greeted && s.outdated() {
		site := s.lead.siteOrders()
		orders := site.Own(s.node, s.lead.term)
		s.addSecrets(orders)
		if prints := [2]dispatcher.Fingerprint{dispatcher.FingerprintOf(orders), site.Fingerprint()}; prints != s.last {
			if prints[1] != s.last[1] {
				response.Common = site.Common()
			}
			s.last = prints
			response.Message = &sitev1.SyncResponse_Assignments{Assignments: orders}
		}
	}
	now := s.process.world.kernel.now
	if response.Message == nil {
		if s.acknowledged == s.told && now-s.sentAt < heartbeatEvery {
			return
		}
		response.Message = &sitev1.SyncResponse_Heartbeat{Heartbeat: &sitev1.SyncHeartbeat{}}
	}
	response.Clock = s.lead.stamp().Message()
	s.sentAt, s.told = now, s.acknowledged
	s.send(response)
}

// siteOrders are made once for all streams, as the hub does.
func (c *coordinator) siteOrders() *dispatcher.Site {
	switch view := c.store.View(); {
	case c.orders == nil:
		c.orders = dispatcher.SiteOf(view)
	case c.orders.View() != view:
		c.orders = c.orders.At(view)
	}
	return c.orders
}

// outlook is what orders may depend on beside what touches their node alone.
type outlook struct {
	index, nodes, common, generation uint64
	trust                            int
}

// outdated: the orders may have changed since they were made last, as the hub of
// the dispatcher finds it out (coordinator/dispatcher/hub.go).
func (s *served) outdated() bool {
	view, was := s.lead.store.View(), s.seen
	if view.Index() == was.index {
		return false
	}
	s.seen = outlook{
		index: view.Index(), nodes: view.NodesIndex(), common: view.CommonIndex(), generation: view.AuthorityGeneration(), trust: len(view.Trust()),
	}
	touched, known := view.TouchedAfter(was.index)
	was.index = view.Index()
	return !known || was != s.seen || slices.Contains(touched, s.node)
}

func (s *served) send(response *sitev1.SyncResponse) {
	data := encode(response)
	s.stream.send(1, digest(data), func() {
		received := &sitev1.SyncResponse{}
		decode(data, received)
		s.deliver(s, received)
	})
}

// redirect says who else may be the coordinator and ends the stream.
func (s *served) redirect() {
	if s.closed {
		return
	}
	s.send(redirectFor(s.process.voter))
	s.refuse()
}

// refuse ends the stream without a word: there is no voter here, or it does not
// know the node.
func (s *served) refuse() {
	s.end()
	s.stream.close(1)
}

// end forgets the stream.
func (s *served) end() {
	s.closed = true
	if s.lead != nil {
		s.lead.served = slices.DeleteFunc(s.lead.served, func(other *served) bool { return other == s })
	}
}

// redirectFor names the coordinator that a voter follows; v may be nil.
func redirectFor(v *voter) *sitev1.SyncResponse {
	redirect := &sitev1.SyncRedirect{}
	if v != nil {
		leader := v.replica.Brief().Leader
		for _, node := range v.store.View().Nodes() {
			if leader != 0 && node.GetRaftId() == leader {
				redirect.Coordinator, redirect.Address = node.GetName(), node.GetAddress()
			}
		}
	}
	return &sitev1.SyncResponse{Message: &sitev1.SyncResponse_Redirect{Redirect: redirect}}
}

func encode(m proto.Message) []byte { return appendTo(nil, m) }

func appendTo(data []byte, m proto.Message) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(data, m)
	if err != nil {
		panic("a message cannot be encoded: " + err.Error())
	}
	return data
}

func decode(data []byte, into proto.Message) {
	if err := proto.Unmarshal(data, into); err != nil {
		panic("a message does not parse: " + err.Error())
	}
}
