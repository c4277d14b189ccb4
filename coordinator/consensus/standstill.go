package consensus

import (
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	// TickEvery is how often a replica is to be ticked.
	TickEvery = 50 * time.Millisecond
	// stillAfter: when a tick comes so much too late, and the process used less than it can
	// have used before it was stopped, and one part in idleShare of the standstill, it did not
	// have too much to do: it was stopped, or its disk does not answer.
	stillAfter = 100 * time.Millisecond
	idleShare  = 16
	// StillWindow is for how long a standstill counts. Who has fewer than stillCount, or
	// less than stillTime of them without the longest, does not stand still again and again.
	StillWindow = 2 * time.Second
	stillCount  = 3
	stillTime   = 500 * time.Millisecond
	// shakyCount of standstills in the window keep the office from a voter.
	shakyCount = 2
	// promptly is how soon a voter answers that may be handed the office; it lacks no
	// more than mostBehind entries. Who leads for less than settling has not heard yet who
	// does.
	promptly   = 100 * time.Millisecond
	mostBehind = 256
	settling   = 200 * time.Millisecond
	// The office is given away again after firstRest, or tried to after retryRest if
	// nobody could take it, and after twice as long each time that it is due as soon as
	// that is over.
	firstRest = 5 * time.Second
	retryRest = time.Second
	mostRest  = 10 * time.Minute
)

// Standstills of a replica in the last two seconds.
type Standstills struct {
	Count int
	// Lost is for how long it got no turn.
	Lost time.Duration
	// Due: it stands still again and again, and is to give its office away.
	Due bool
}

// turns are the ticks that a replica got. It is pure.
type turns struct {
	last  time.Duration
	used  time.Duration
	stood []standstill // of the window, oldest first
	// next is when the office may be given away, rest how long that was put off.
	next, rest time.Duration
}

type standstill struct{ until, lost time.Duration }

// turn notes a tick, and how much the process has used so far of each processor.
func (t *turns) turn(now, used time.Duration) {
	lost := now - t.last - TickEvery
	if t.last != 0 && lost >= stillAfter && used-t.used < TickEvery+lost/idleShare {
		t.stood = append(t.stood, standstill{now, lost})
	}
	t.last, t.used = now, used
	t.stood = slices.DeleteFunc(t.stood, func(s standstill) bool { return s.until <= now-StillWindow })
}

func (t *turns) standstills() Standstills {
	found := Standstills{Count: len(t.stood)}
	var longest time.Duration
	for _, s := range t.stood {
		found.Lost += s.lost
		longest = max(longest, s.lost)
	}
	found.Due = found.Count >= stillCount && found.Lost-longest >= stillTime && t.last >= t.next
	return found
}

// shaky: no office for this one.
func (t *turns) shaky() bool { return len(t.stood) >= shakyCount }

// tried to give the office away, at least for so long not again.
func (t *turns) tried(least time.Duration) {
	if t.last >= t.next+t.rest {
		t.rest = 0 // it was in order for as long
	}
	t.rest = min(max(2*t.rest, least), mostRest)
	t.next = t.last + t.rest
}

// pulse is how another replica answers.
type pulse struct {
	// prompt is when it last did so promptly.
	prompt time.Duration
	shaky  bool
}

// A heartbeat bears when it was sent, after what raft wants to be echoed (nothing, or a
// read's ID), and the answer whether who answers is shaky. Replicas that know nothing of
// it echo it all.
const markSize = 9

// mark what goes out.
func (r *Replica) mark(messages []*raftpb.Message) {
	for _, m := range messages {
		echo := m.GetContext()
		switch {
		case m.GetType() == raftpb.MsgHeartbeat:
			sent := binary.BigEndian.AppendUint64([]byte{0}, uint64(r.turns.last))
			m.Context = slices.Concat(echo, sent)
		case m.GetType() == raftpb.MsgHeartbeatResp && isMarked(echo) && r.turns.shaky():
			m.Context = slices.Clone(echo)
			m.Context[len(echo)-markSize] = 1
		}
	}
}

func isMarked(echo []byte) bool { return len(echo) >= markSize && len(echo)%8 == markSize%8 }

// unmark an answer, and note how it came.
func (r *Replica) unmark(m *raftpb.Message, at time.Duration) *raftpb.Message {
	echo := m.GetContext()
	if m.GetType() != raftpb.MsgHeartbeatResp || !isMarked(echo) {
		return m
	}
	m = proto.CloneOf(m)
	own, mark := len(echo)-markSize, echo[len(echo)-markSize:]
	m.Context = m.Context[:own]
	p := r.pulses[m.GetFrom()]
	p.shaky = mark[0] != 0
	if took := at - time.Duration(binary.BigEndian.Uint64(mark[1:])); took >= 0 && took <= promptly {
		p.prompt = at
	}
	r.pulses[m.GetFrom()] = p
	return m
}

// Standstills of this replica.
func (r *Replica) Standstills() Standstills {
	found := r.turns.standstills()
	found.Due = found.Due && r.led != 0 && r.turns.last >= r.led+settling
	return found
}

// GiveWay hands the leadership to the most caught-up of the voters named that answer
// promptly and do not stand still themselves; 0 when there is none. In either case it is
// not due again for a while. Nothing is tried when it is not due.
func (r *Replica) GiveWay(may []uint64) (to uint64, tried bool) {
	if !r.Standstills().Due {
		return 0, false
	}
	commit := r.Brief().Commit
	to = r.transfer(func(peer Peer) bool {
		p, known := r.pulses[peer.ID]
		return slices.Contains(may, peer.ID) && known && !p.shaky && r.turns.last < p.prompt+StillWindow && peer.Match+mostBehind >= commit
	})
	if to == 0 {
		r.turns.tried(retryRest)
	} else {
		r.turns.tried(firstRest)
	}
	return to, true
}
