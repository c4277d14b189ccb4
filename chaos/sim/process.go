package sim

import (
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/gossip"
	"skerry.dev/agent/identity"
	"skerry.dev/agent/ledger"
	"skerry.dev/certs"
	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// forwardTimeout is when a node gives up on the coordinator that it
	// forwarded a request to.
	forwardTimeout = 2 * time.Second
	// rejoinEvery is how often the pool is held against the peer book.
	rejoinEvery = time.Second
	// workTime is the most that the API works on a request by itself.
	workTime = 2 * time.Millisecond
)

// process is one run of `skerry agent` on a host. All it knows dies with it.
type process struct {
	host    *host
	world   *world
	rng     *rand.Rand
	dead    bool
	members *membership
	ledger  *ledger.Ledger
	// self is who this node is; nil before it joined. judged are the certificates
	// of others.
	self   *identity.Node
	judged map[*x509.Certificate]judgement
	// expiry of the SVID, as it is told; issued is who issued the SVID, as was found out with a version of the chain of
	// trust.
	expiry struct {
		leaf *x509.Certificate
		at   *timestamppb.Timestamp
	}
	issued struct {
		leaf    *x509.Certificate
		version uint64
		by      []byte
	}
	began time.Duration
	// askedWhy is when somebody was asked why this node is refused; renewing: its
	// SVID is being renewed; left: the site has evicted it; ordered: orders have
	// come; full: there is no room for a log.
	askedWhy time.Duration
	// asking: that question is under way.
	asking                        bool
	renewing, left, ordered, full bool
	agent                         *node
	// paused counts the faults that let it stand still; due is what it does after, and
	// woke when it last went on.
	paused int
	woke   time.Duration
	due    []func()
	// voter is nil while the host has no replica.
	voter *voter
}

func newProcess(h *host) *process {
	p := &process{host: h, world: h.world, began: h.world.kernel.now, rng: h.world.rngFor(1000 + uint64(h.index)*1_000_000 + uint64(h.starts))}
	p.members = newMembership(h.world.net, p.rng, h.index, len(h.world.hosts))
	p.members.others = func(host int) *membership {
		if other := h.world.hosts[host].process; other != nil && other.ordered && !other.left {
			return other.members
		}
		return nil
	}
	p.members.changed = p.poolChanged
	return p
}

// after schedules something that happens only while the process lives.
func (p *process) after(d time.Duration, do func()) {
	p.later(d, func() {
		if !p.dead {
			do()
		}
	})
}

// every repeats do for as long as the process lives.
func (p *process) every(d time.Duration, do func()) {
	p.after(d, func() { do(); p.every(d, do) })
}

func (p *process) boot() {
	self, err := identity.Load(p.host.system(), identity.Dir(stateDir))
	if errors.Is(err, identity.ErrNone) {
		p.join()
		return
	}
	if err == nil {
		p.ledger, err = ledger.Open(p.host.disk, stateDir)
	}
	if err != nil {
		p.world.violate(&check.Violation{Rule: check.NoHalt, Message: p.host.name + ": " + err.Error()})
		return
	}
	p.knowSelf(self)
	p.look()
	p.startReplica()
	p.run()
}

// startReplica runs the replica whose log is on the host, unless it must not run.
func (p *process) startReplica() {
	raft := &p.host.raft
	if p.voter != nil || p.full || raft.id == 0 || raft.id == raft.halted || p.self.Evicted() {
		return
	}
	if err := p.self.EnsureAuthority(0); err != nil {
		p.world.violate(&check.Violation{Rule: check.NoHalt, Message: p.host.name + ": " + err.Error()})
		return
	}
	p.voter = newVoter(p)
}

// run begins what every node of the site does.
func (p *process) run() {
	p.agent = newNode(p)
	p.leaveIfEvicted()
	p.updateTrust(p.ledger.Current().GetTrust())
	p.every(roomEvery, p.look)
	p.every(lookAtSVID, func() {
		if p.self.Due() {
			p.renew()
		}
	})
}

// gossip begins with the first orders of this process, and goes on with the keys
// of each that follow (agent/gossip.go).
func (p *process) gossip(orders *sitev1.Assignments) {
	if ring := orders.GetGossip(); len(ring.GetKeys()) > 0 && !p.left {
		p.spread(ring.GetKeys())
		p.members.ring, p.members.version = ring.GetKeys(), ring.GetVersion()
	}
	if p.ordered {
		return
	}
	p.ordered = true
	p.every(probeEvery, p.members.tick)
	rejoin := gossip.NewRejoin()
	p.every(rejoinEvery, func() { p.rejoin(rejoin) })
}

// spread new keys to all who have an old one, if that bug is planted.
func (p *process) spread(keys [][]byte) {
	if !p.world.has(LeakKeys) || !slices.ContainsFunc(keys, func(key []byte) bool { return !has(p.members.ring, key) }) {
		return
	}
	for _, h := range p.world.hosts {
		other := h.process
		if other == nil || !slices.ContainsFunc(p.members.ring, func(key []byte) bool { return has(other.members.ring, key) }) {
			continue
		}
		p.world.net.datagram(p.host.index, h.index, 'k', func() { other.members.ring = keys })
	}
}

// rejoin calls the peers that are missing in the pool, as agent/gossip does.
func (p *process) rejoin(rejoin *gossip.Rejoin) {
	if p.left {
		return
	}
	alive := map[string]bool{p.host.name: true}
	for _, h := range p.members.members() {
		alive[hostName(h)] = true
	}
	var book []string
	for _, peer := range p.peers() {
		if peer.GetName() != p.host.name {
			book = append(book, peer.GetName())
		}
	}
	if p.world.has(NoRejoin) && p.world.kernel.now > openTime {
		return
	}
	for _, name := range rejoin.Step(p.host.elapsed(), alive, book, p.rng.Uint64()) {
		to := p.world.hostByName(name)
		p.world.net.datagram(p.host.index, to, 'r', func() {
			if !p.dead {
				p.members.join(to)
			}
		})
	}
}

// poolChanged passes on what gossip sees.
func (p *process) poolChanged(host int, alive bool) {
	if p.dead {
		return
	}
	p.world.trace.note(p.host.name, "pool: %s alive %v", hostName(host), alive)
	if p.voter != nil && p.voter.lead != nil {
		p.voter.lead.poolChanged(hostName(host), alive)
	}
}

// runReplica starts, keeps or ends the replica that the site's orders name.
func (p *process) runReplica(id uint64) {
	disk := &p.host.raft
	if p.self.Evicted() {
		id = 0
	}
	if id == disk.id {
		return
	}
	if disk.id != 0 {
		p.world.trace.note(p.host.name, "replica %d ends", disk.id)
		disk.wipe()
		if p.voter != nil {
			p.voter.end()
			p.voter = nil
		}
	}
	if id == 0 {
		return
	}
	disk.id, disk.memLog = id, newMemLog()
	p.world.trace.note(p.host.name, "replica %d begins", id)
	p.startReplica()
}

// hostOfReplica is where a replica runs, as far as this process knows; -1 when
// it does not.
func (p *process) hostOfReplica(id uint64) int {
	if p.voter != nil {
		view := p.voter.store.View()
		if node := view.NodeOfReplica(id); node != nil {
			return p.world.hostByName(node.GetName())
		}
		for node := range view.AllNodes() {
			if id == 0 && node.GetRaftId() == 0 { // nobody leads: somebody may know more
				return p.world.hostByName(node.GetName())
			}
		}
	}
	for _, peer := range p.peers() {
		if peer.GetRaftId() == id {
			return p.world.hostByName(peer.GetName())
		}
	}
	return -1
}

// peers of the ledger.
func (p *process) peers() []*sitev1.Peer {
	if p.ledger == nil {
		return nil
	}
	return p.ledger.Current().GetPeers()
}

// serveClient answers a request of a client on this host, here or by
// forwarding it once.
func (p *process) serveClient(r *request, done func(answer)) {
	unavailable := answer{unavailable: true, node: p.host.name}
	if p.self == nil || p.left {
		done(unavailable)
		return
	}
	if p.self.Bundle().Revoked(r.key) != "" {
		done(answer{kind: refusedKey, node: p.host.name})
		return
	}
	if r.read && p.voter != nil {
		p.read(r, done)
		return
	}
	if p.voter != nil && p.voter.lead != nil {
		p.commit(r, done)
		return
	}
	to := p.coordinator()
	if to < 0 || to == p.host.index {
		done(unavailable)
		return
	}
	answered := false
	once := func(a answer) {
		if !answered && !p.dead {
			answered = true
			done(a)
		}
	}
	net, from := p.world.net, p.host.index
	p.after(forwardTimeout, func() { once(unavailable) })
	net.datagram(from, to, digest([]byte(r.id)), func() {
		other := p.world.hosts[to].process
		reply := func(a answer) { net.datagram(to, from, a.index, func() { once(a) }) }
		switch {
		case !p.connects(other):
			reply(answer{unavailable: true, node: other.host.name})
		case r.read && other.voter != nil:
			other.read(r, reply)
		case other.voter != nil && other.voter.lead != nil:
			other.commit(r, reply)
		default:
			reply(answer{unavailable: true, node: other.host.name})
		}
	})
}

// coordinator is the host that this process believes to lead; else some voter.
func (p *process) coordinator() int {
	if p.voter != nil {
		return p.hostOfReplica(p.voter.replica.Brief().Leader)
	}
	if to := p.agent.coordinator(); to >= 0 {
		return to
	}
	var voters []int
	for _, peer := range p.peers() {
		if peer.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			voters = append(voters, p.world.hostByName(peer.GetName()))
		}
	}
	if len(voters) == 0 {
		return -1
	}
	return voters[p.rng.IntN(len(voters))]
}

func (p *process) commit(r *request, done func(answer)) {
	p.after(time.Duration(p.rng.Int64N(int64(workTime))), func() {
		if p.voter == nil {
			done(answer{unavailable: true, node: p.host.name})
			return
		}
		if view := p.voter.store.View(); r.operator != "" && !view.OnRecord(certs.Peer{Role: certs.RoleOperator, Name: r.operator, KeyFingerprint: r.key}) {
			done(answer{kind: refusedKey, node: p.host.name})
			return
		}
		early := p.world.has(EarlyAck)
		if early {
			done(answer{index: p.voter.store.View().Index() + 1, node: p.host.name})
		}
		p.voter.propose(p.world.onTheWay(r.entry), func(c consensus.Completion) {
			if early {
				return
			}
			done(answer{
				unavailable: c.Err != nil, index: c.Outcome.GetIndex(), kind: c.Outcome.GetErrorKind(), node: p.host.name,
			})
		})
	})
}

func (p *process) read(r *request, done func(answer)) {
	tell := func(index uint64) { done(answer{index: index, node: p.host.name, value: p.valueOf(r.register)}) }
	if p.world.has(StaleReads) {
		tell(p.voter.store.View().Index())
		return
	}
	p.voter.read(tell)
}
