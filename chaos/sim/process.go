package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"skerry.dev/agent"
	"skerry.dev/agent/gossip"
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
	agent   *node
	// voter is nil while the host has no replica.
	voter *voter
}

func newProcess(h *host) *process {
	p := &process{host: h, world: h.world, rng: h.world.rngFor(1000 + uint64(h.index)*1_000_000 + uint64(h.starts))}
	p.members = newMembership(h.world.net, p.rng, h.index, len(h.world.hosts))
	p.members.others = func(host int) *membership {
		if other := h.world.hosts[host].process; other != nil && other.host.joined() {
			return other.members
		}
		return nil
	}
	p.members.changed = p.poolChanged
	return p
}

// after schedules something that happens only while the process lives.
func (p *process) after(d time.Duration, do func()) {
	p.world.kernel.after(d, func() {
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
	if raft := &p.host.raft; raft.id != 0 && raft.id != raft.halted {
		p.voter = newVoter(p)
	}
	if !p.host.joined() {
		p.join()
		return
	}
	p.run()
}

// run begins what every node of the site does.
func (p *process) run() {
	p.agent = newNode(p)
	p.every(probeEvery, p.members.tick)
	rejoin := gossip.NewRejoin()
	p.every(rejoinEvery, func() { p.rejoin(rejoin) })
}

// rejoin calls the peers that are missing in the pool, as agent/gossip does.
func (p *process) rejoin(rejoin *gossip.Rejoin) {
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
	p.voter = newVoter(p)
}

// hostOfReplica is where a replica runs, as far as this process knows; -1 when
// it does not.
func (p *process) hostOfReplica(id uint64) int {
	if p.voter != nil {
		for _, node := range p.voter.store.View().Nodes() {
			if node.GetRaftId() == id {
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
	if p.agent == nil {
		return nil
	}
	return p.agent.ledger.Current().GetPeers()
}

// join asks the first host, again and again, to be let in.
func (p *process) join() {
	const founder = 0
	node := p.host.record()
	entry := &sitev1.Entry{
		RequestId: fmt.Sprintf("join-%s-%d", p.host.name, p.world.kernel.now), Principal: "token",
		Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
			SecretHash: tokenHash(p.host.name), KeyFingerprint: fingerprint(p.host.name), Node: node,
		}},
	}
	net := p.world.net
	net.datagram(p.host.index, founder, 'j', func() {
		voter := p.world.hosts[founder].process.voter
		if voter == nil || voter.lead == nil {
			return
		}
		voter.propose(entry, func(c consensus.Completion) {
			if c.Err != nil || c.Outcome.GetErrorKind() != "" {
				return // its operator tries again
			}
			view := voter.store.View()
			net.datagram(founder, p.host.index, 'J', func() {
				p.joined(view.SiteID(), &sitev1.JoinResponse{Peers: view.Peers(), Trust: view.Trust(), GossipKey: view.GossipKey()})
			})
		})
	})
	p.after(time.Second, func() {
		if !p.host.joined() {
			p.join()
		}
	})
}

func (p *process) joined(siteID string, response *sitev1.JoinResponse) {
	if p.dead || p.host.joined() {
		return
	}
	if err := agent.KeepJoin(p.host.disk, stateDir, siteName, siteID, response); err != nil {
		panic("the first ledger cannot be written: " + err.Error())
	}
	p.world.trace.note(p.host.name, "joined the site")
	p.host.member = true
	p.run()
}

// serveClient answers a request of a client on this host, here or by
// forwarding it once.
func (p *process) serveClient(r *request, done func(answer)) {
	unavailable := answer{unavailable: true, node: p.host.name}
	if r.read && p.voter != nil {
		p.read(done)
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
		case r.read && other.voter != nil:
			other.read(reply)
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
		return p.hostOfReplica(p.voter.replica.Status().Leader)
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
		early := p.world.has(EarlyAck)
		if early {
			done(answer{index: p.voter.store.View().Index() + 1, node: p.host.name})
		}
		p.voter.propose(r.entry, func(c consensus.Completion) {
			if early {
				return
			}
			done(answer{
				unavailable: c.Err != nil, index: c.Outcome.GetIndex(), kind: c.Outcome.GetErrorKind(), node: p.host.name,
			})
		})
	})
}

func (p *process) read(done func(answer)) {
	if p.world.has(StaleReads) {
		done(answer{index: p.voter.store.View().Index(), node: p.host.name})
		return
	}
	p.voter.read(func(index uint64) { done(answer{index: index, node: p.host.name}) })
}
