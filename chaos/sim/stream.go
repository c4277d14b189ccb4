package sim

import (
	"slices"
	"time"
)

const (
	// dialTimeout is when an opening connection gives up.
	dialTimeout = time.Second
	// retransmit is how long a stream waits before it sends a lost segment
	// again.
	retransmit = 200 * time.Millisecond
	// idleLimit is when an end of a stream that hears nothing gives it up, as
	// the pings of the real connections do.
	idleLimit = 2 * time.Second
)

// stream is one connection: ordered both ways, until it breaks. Side 0 opened
// it.
type stream struct {
	network *network
	ends    [2]end
}

// end is one side of a stream.
type end struct {
	host   int
	closed bool
	heard  time.Duration
	// last arrival here, so that nothing overtakes.
	last time.Duration
	// held messages wait for a cut to heal.
	held []func()
	// onClose runs once when the stream breaks, not when its owner closes it.
	onClose func()
}

// dial opens a stream and calls done, with nil when that fails. accept runs
// first, at the other end; it gives what to do there when the stream breaks.
func (n *network) dial(from, to int, accept func(*stream) (onClose func()), done func(*stream)) {
	n.trace.fold('c', uint64(from), uint64(to))
	finish := done
	done = func(s *stream) { n.awake(from, func() { finish(s) }) }
	if !n.open(from, to) || !n.open(to, from) || !n.hostUp(to) || n.paused(to) {
		n.kernel.after(dialTimeout, func() { done(nil) })
		return
	}
	there, back := n.latency(from, to), n.latency(to, from)
	n.kernel.after(there, func() {
		if !n.processUp(to) || n.paused(to) {
			n.kernel.after(back, func() { done(nil) })
			return
		}
		s := &stream{network: n}
		s.ends[0] = end{host: from, heard: n.kernel.now}
		s.ends[1] = end{host: to, heard: n.kernel.now}
		n.streams[from] = append(n.streams[from], s)
		n.streams[to] = append(n.streams[to], s)
		// Whatever the other end says or does, this one hears of it when it is open.
		s.ends[0].last = n.kernel.now + back
		n.kernel.after(back, func() { done(s) })
		s.ends[1].onClose = accept(s)
		s.watch(0)
		s.watch(1)
	})
}

// hangUp ends all streams of a host: its process died. When the whole host
// died, nobody tells the other ends.
func (n *network) hangUp(host int, silent bool) {
	for _, s := range slices.Clone(n.streams[host]) {
		for side := range s.ends {
			e := &s.ends[side]
			if e.host != host || e.closed {
				continue
			}
			s.drop(side)
			if !silent {
				s.reset(1 - side)
			}
		}
	}
}

// watch gives an end up when it hears nothing for too long.
func (s *stream) watch(side int) {
	e := &s.ends[side]
	if e.closed {
		return
	}
	if !s.network.paused(e.host) && s.network.kernel.now-e.heard >= idleLimit {
		s.broken(side)
		return
	}
	s.network.kernel.after(idleLimit/4, func() { s.watch(side) })
}

// broken closes one end because the stream does not work any more.
func (s *stream) broken(side int) {
	e := &s.ends[side]
	if e.closed {
		return
	}
	s.close(side)
	if e.onClose != nil {
		e.onClose()
	}
}

// close ends the stream from one side; the other side hears of it if the
// network lets it.
func (s *stream) close(side int) {
	if s.ends[side].closed {
		return
	}
	s.drop(side)
	s.reset(1 - side)
}

func (s *stream) drop(side int) {
	e := &s.ends[side]
	e.closed, e.held = true, nil
	open := s.network.streams[e.host]
	if i := slices.Index(open, s); i >= 0 {
		s.network.streams[e.host] = slices.Delete(open, i, i+1)
	}
}

// reset tells one side that the other is gone.
func (s *stream) reset(side int) {
	n, from, to := s.network, s.ends[1-side].host, s.ends[side].host
	if !n.open(from, to) || !n.hostUp(from) {
		return
	}
	delay := max(n.latency(from, to), s.ends[side].last-n.kernel.now)
	n.kernel.after(delay, func() {
		if n.open(from, to) {
			n.awake(to, func() { s.broken(side) })
		}
	})
}

// send brings a message to the other side, in order. Loss shows as delay; a
// cut holds it back until it heals or the stream breaks. what is folded into
// the trace.
func (s *stream) send(side int, what uint64, deliver func()) {
	n, me, peer := s.network, &s.ends[side], &s.ends[1-side]
	if me.closed {
		return
	}
	n.trace.fold('s', uint64(me.host), uint64(peer.host), what)
	delay := n.latency(me.host, peer.host)
	for delay < idleLimit && n.rng.Float64() < n.quality(me.host, peer.host).loss {
		delay += retransmit
	}
	peer.last = max(n.kernel.now+delay, peer.last)
	n.kernel.after(peer.last-n.kernel.now, func() { s.arrive(1-side, deliver) })
}

// arrive hands a message to one side, after what is held there.
func (s *stream) arrive(side int, deliver func()) {
	e := &s.ends[side]
	if e.closed {
		return
	}
	e.held = append(e.held, deliver)
	if len(e.held) == 1 {
		s.release(side)
	}
}

func (s *stream) release(side int) {
	n, e, from := s.network, &s.ends[side], s.ends[1-side].host
	for len(e.held) > 0 && !e.closed {
		if !n.open(from, e.host) || !n.processUp(e.host) || n.paused(e.host) {
			n.kernel.after(retransmit, func() { s.release(side) })
			return
		}
		deliver := e.held[0]
		e.held = e.held[1:]
		e.heard = n.kernel.now
		deliver()
	}
}
