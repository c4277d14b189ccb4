package sim

import "time"

// lineBeat keeps a line open on which nothing is said: the kernels' business, whatever
// the processes do.
const lineBeat = 500 * time.Millisecond

// line is one connection between two movers; side 0 has opened it.
type line struct {
	stream *stream
	ends   [2]*mover
	// broke is called at a side when the connection ends without that side's doing; nil
	// for nothing.
	broke [2]func()
}

// call the mover of another node; nil when nobody answers who may be believed.
func (m *mover) call(node string, done func(*line)) {
	to := m.world.hostByName(node)
	l := &line{}
	accept := func(*stream) func() {
		if far := m.world.hosts[to].process; far != nil && far.agent != nil {
			l.ends = [2]*mover{m, far.agent.mover}
		}
		return func() { l.told(1) }
	}
	m.world.net.dial(m.host.index, to, accept, func(opened *stream) {
		switch {
		case m.dead:
			return
		case opened == nil:
			done(nil)
			return
		case l.ends[1] == nil || !m.connects(l.ends[1].process):
			opened.close(0)
			done(nil)
			return
		}
		l.stream = opened
		opened.ends[0].onClose = func() { l.told(0) }
		l.beat()
		done(l)
	})
}

func (l *line) told(side int) {
	if do := l.broke[side]; do != nil && !l.ends[side].dead {
		do()
	}
}

func (l *line) open(side int) bool { return !l.stream.ends[side].closed }

func (l *line) beat() {
	if !l.open(0) && !l.open(1) {
		return
	}
	l.stream.send(0, 0, func() {})
	l.stream.send(1, 0, func() {})
	l.stream.network.kernel.after(lineBeat, l.beat)
}

// say something from one side: do happens at the other one.
func (l *line) say(side int, what byte, do func()) {
	if !l.open(side) {
		return
	}
	l.stream.send(side, uint64(what), func() {
		if !l.ends[1-side].dead {
			do()
		}
	})
}

// hangUp from one side.
func (l *line) hangUp(side int) {
	l.broke[side] = nil
	l.stream.close(side)
}
