package sim

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// probeEvery is how often membership looks at one member.
	probeEvery = 250 * time.Millisecond
	// suspicion is how long a member that does not answer is still counted.
	suspicion = 1500 * time.Millisecond
	// forgetAfter is when a dead member is forgotten for good, as memberlist
	// does: from then on nothing in it ever tries that member again.
	forgetAfter = 30 * time.Second
)

// membership models what memberlist gives one node: members are probed in
// turn, directly and through others; those that do not answer become dead, are
// tried for a while and then forgotten. Third parties make it know names, but
// never raise the dead.
type membership struct {
	net   *network
	rng   *rand.Rand
	self  int
	peers []member // by host
	next  int
	// others gives the membership of another running node; nil when it does
	// not run.
	others func(host int) *membership
	// ring of keys: the first one encrypts, each of them decrypts. version of it.
	ring    [][]byte
	version uint64
	// changed tells that a member came or failed.
	changed func(host int, alive bool)
}

type memberState int

const (
	unknown memberState = iota
	alive
	dead
)

type member struct {
	state memberState
	// since when it is dead.
	since time.Duration
	// answered when it was last heard.
	answered time.Duration
}

func newMembership(net *network, rng *rand.Rand, self, hosts int) *membership {
	return &membership{net: net, rng: rng, self: self, peers: make([]member, hosts)}
}

// leave the pool.
func (m *membership) leave() {
	m.ring, m.version = nil, 0
	clear(m.peers)
}

// talks tells whether two members understand each other.
func (m *membership) talks(other *membership) bool {
	return len(m.ring) > 0 && len(other.ring) > 0 && has(other.ring, m.ring[0]) && has(m.ring, other.ring[0])
}

func has(ring [][]byte, key []byte) bool {
	return slices.ContainsFunc(ring, func(known []byte) bool { return bytes.Equal(known, key) })
}

// exchange a message and its answer with another member.
func (m *membership) exchange(h int) bool {
	other := m.others(h)
	return m.net.exchange(m.self, h) && other != nil && m.talks(other)
}

// members are the hosts counted alive, without this one.
func (m *membership) members() []int {
	var hosts []int
	for h, p := range m.peers {
		if p.state == alive {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// tick probes one member, tries one dead one, and forgets.
func (m *membership) tick() {
	if len(m.ring) == 0 {
		return
	}
	now := m.net.kernel.now
	for range m.peers {
		m.next = (m.next + 1) % len(m.peers)
		if m.peers[m.next].state == alive {
			m.probe(m.next)
			break
		}
	}
	for h := range m.peers {
		p := &m.peers[h]
		switch {
		case p.state == dead && now-p.since >= forgetAfter:
			*p = member{}
		case p.state == dead && m.rng.IntN(4) == 0 && m.exchange(h):
			m.meet(h)
		case p.state == alive && now-p.answered >= suspicion+probeEvery*time.Duration(len(m.peers)):
			*p = member{state: dead, since: now}
			m.changed(h, false)
		}
	}
}

func (m *membership) probe(h int) {
	answers := m.exchange(h)
	for _, through := range m.members() {
		if answers {
			break
		}
		answers = through != h && m.exchange(through) && m.others(through).exchange(h)
	}
	if !answers {
		return
	}
	m.peers[h].answered = m.net.kernel.now
	if m.net.reachable(m.self, h) {
		m.meet(h)
	}
}

// join contacts a host directly: both know each other then, and what the other
// knows. It tells whether that worked.
func (m *membership) join(h int) bool {
	if h == m.self || !m.exchange(h) {
		return false
	}
	return m.meet(h)
}

// meet makes two running nodes exchange what they know.
func (m *membership) meet(h int) bool {
	other := m.others(h)
	if other == nil || !m.talks(other) {
		return false
	}
	m.see(h)
	other.see(m.self)
	for _, third := range other.members() {
		m.hear(third)
	}
	for _, third := range m.members() {
		other.hear(third)
	}
	return true
}

func (m *membership) see(h int) {
	p := &m.peers[h]
	was := p.state
	*p = member{state: alive, answered: m.net.kernel.now}
	if was != alive {
		m.changed(h, true)
	}
}

// hear learns from somebody else that a member lives.
func (m *membership) hear(h int) {
	if h != m.self && m.peers[h].state == unknown {
		m.see(h)
	}
}
