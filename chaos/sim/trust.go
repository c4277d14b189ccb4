package sim

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent"
	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/chaos/check"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/sitetime"
)

const (
	// judgedFor is how long a judgement of a certificate is good, unless the chain
	// of trust has grown; refusedFor one that refuses it.
	judgedFor, refusedFor = 20 * time.Second, 200 * time.Millisecond
	// askWhyEvery is how often a node asks why it was refused (agent/session).
	askWhyEvery = time.Second
	// learnTime bounds that question (agent/membership.go).
	learnTime = 2 * time.Second
	// keepTimeEvery is how often site time is looked at (agent/sitetime.go).
	lookAtTime, keepTimeEvery = 10 * time.Second, 5 * time.Minute
)

// judgement of one certificate by one process.
type judgement struct {
	version uint64
	until   time.Duration
	peer    certs.Peer
	good    bool
	// from and to are the site times between which it cannot turn out otherwise, as
	// long as the CAs are those that they were; zero when it can.
	from, to time.Time
}

// lasts at this site time: the certificate and all CAs have begun and not expired, and
// what else was looked at is the same.
func (j judgement) lasts(now time.Time) bool {
	return !j.to.IsZero() && !now.Before(j.from) && !now.After(j.to)
}

// knowSelf makes a process the node that its disk says it is, as agent.build
// does.
func (p *process) knowSelf(self *identity.Node) {
	p.self, p.judged = self, map[*x509.Certificate]judgement{}
	self.KnowTime(sitetime.NewKeeper(hostClock{p.host}, p.ledger.Time(), simulationStart))
	self.Records(p.onRecord)
	self.Gate().Orders = func() [][]byte { return p.ledger.Current().GetRetiring() }
	p.every(lookAtTime, p.keepTime)
}

func (p *process) keepTime() {
	now, kept := p.self.SiteTime().Read(), p.ledger.Time()
	if now.Era != kept.Era || now.Time.Sub(kept.Time) >= keepTimeEvery {
		if err := p.ledger.KeepTime(now); err != nil {
			p.world.trace.note(p.host.name, "site time could not be kept: %v", err)
		}
	}
}

// onRecord is agent.onRecord.
func (p *process) onRecord(peer certs.Peer) bool {
	if p.voter != nil && p.voter.store.View().OnRecord(peer) {
		return true
	}
	return peer.Role == certs.RoleNode && slices.ContainsFunc(p.peers(), func(known *sitev1.Peer) bool {
		return known.GetName() == peer.Name && bytes.Equal(known.GetKeyFingerprint(), peer.KeyFingerprint)
	})
}

// leaf is the certificate that the process shows; nil before it joined, and for no
// process.
func (p *process) leaf() *x509.Certificate {
	if p == nil || p.self == nil {
		return nil
	}
	return p.self.Leaf()
}

// fingerprint of the key in a certificate; each is worked out once.
func (w *world) fingerprint(leaf *x509.Certificate) []byte {
	print, known := w.prints[leaf]
	if !known {
		print = certs.Fingerprint(leaf.PublicKey)
		w.prints[leaf] = print
	}
	return print
}

// expires is when this node's SVID does.
func (p *process) expires() *timestamppb.Timestamp {
	if leaf := p.leaf(); p.expiry.leaf != leaf {
		p.expiry.leaf, p.expiry.at = leaf, timestamppb.New(leaf.NotAfter)
	}
	return p.expiry.at
}

// issuer is the CA of this node's SVID.
func (p *process) issuer() []byte {
	leaf, version := p.leaf(), p.self.Bundle().Version()
	if p.issued.leaf != leaf || p.issued.version != version {
		p.issued.leaf, p.issued.version, p.issued.by = leaf, version, p.self.Issuer()
	}
	return p.issued.by
}

// admit judges a certificate as certs/mtls does on a connection.
func (p *process) admit(leaf *x509.Certificate) (certs.Peer, bool) {
	if leaf == nil || p.self == nil {
		return certs.Peer{}, false
	}
	now, bundle := p.world.kernel.now, p.self.Bundle()
	j, known := p.judged[leaf]
	known = known && j.version == bundle.Version()
	if known && now < j.until {
		return j.peer, j.good
	}
	site := p.self.Now()
	if known && j.lasts(site) {
		j.until = now + judgedFor
		p.judged[leaf] = j
		return j.peer, j.good
	}
	chain := []*x509.Certificate{leaf}
	peer, err := certs.VerifyPeer(chain, bundle, site)
	j = judgement{version: bundle.Version(), until: now + judgedFor, peer: peer, good: err == nil}
	if j.good {
		j.from, j.to = site, leaf.NotAfter
		for _, authority := range bundle.Authorities() {
			if authority.NotAfter.Before(j.to) {
				j.to = authority.NotAfter
			}
		}
	}
	if errors.Is(err, certs.ErrUnknownAuthority) {
		former, formerErr := certs.VerifyFormer(chain, bundle, site)
		if formerErr == nil && p.onRecord(former) {
			peer, err = former, nil
			j.peer, j.good = former, true
		}
	}
	if err != nil {
		j.until = now + refusedFor
	}
	p.judged[leaf] = j
	return j.peer, j.good
}

// connects tells whether two processes can speak with each other: each takes the
// other for a node of the site.
func (p *process) connects(other *process) bool {
	if p == nil || other == nil {
		return false
	}
	if p == other {
		return true
	}
	_, there := p.admit(other.leaf())
	_, back := other.admit(p.leaf())
	return there && back
}

// updateTrust takes over a longer chain of trust and does what agent.followTrust
// and agent.enforceTrust do.
func (p *process) updateTrust(chain []*sitev1.TrustVersion) {
	before := p.self.Bundle().Version()
	if p.world.has(OldTrust) && p.world.kernel.now > openTime {
		return
	}
	if err := p.self.UpdateTrust(chain); err != nil {
		p.world.violate(&check.Violation{Rule: check.NoHalt, Message: p.host.name + ": " + err.Error()})
		return
	}
	if p.self.Bundle().Version() == before {
		return
	}
	p.world.trace.note(p.host.name, "believes version %d of the chain of trust", p.self.Bundle().Version())
	p.recheck()
	if !p.self.Counts() {
		p.renew()
	}
	p.leaveIfEvicted()
}

// recheck cuts the streams of all who do not count any more.
func (p *process) recheck() {
	if p.agent != nil && p.agent.session != nil {
		s := p.agent.session
		if s.stream != nil {
			if _, ok := p.admit(s.to.process.leaf()); !ok {
				s.hangUp()
			}
		}
	}
	if p.voter == nil || p.voter.lead == nil {
		return
	}
	for _, s := range slices.Clone(p.voter.lead.served) {
		if _, ok := p.admit(s.leaf); !ok {
			p.world.trace.note(p.host.name, "cuts the stream of %s", s.peer.Name)
			s.refuse()
		}
	}
}

// followAuthorities is agent.followAuthorities.
func (p *process) followAuthorities(orders *sitev1.Assignments) {
	if orders.GetRaftId() != 0 && orders.GetAuthorityGeneration() > 0 && !p.self.Evicted() {
		if err := p.self.RotateAuthority(orders.GetAuthorityGeneration(), orders.GetAuthorityLifetime().AsDuration()); err != nil {
			p.world.violate(&check.Violation{Rule: check.NoHalt, Message: p.host.name + ": " + err.Error()})
		}
	}
	if orders.GetRenew() {
		p.renew()
	}
}

// leaveIfEvicted is agent.evicted: no stream, no gossip, no replica, and only
// what stays goes on.
func (p *process) leaveIfEvicted() {
	if p.left || !p.self.Evicted() || p.agent == nil {
		return
	}
	p.left = true
	p.world.trace.note(p.host.name, "was evicted")
	p.members.leave()
	if s := p.agent.session; s != nil && s.stream != nil {
		s.stream.close(0)
		s.stream, s.to = nil, nil
	}
	if err := p.ledger.Accept(agent.OwnOrders(p.ledger.Current())); err != nil {
		p.world.violate(&check.Violation{Rule: check.NoHalt, Message: p.host.name + ": " + err.Error()})
		return
	}
	p.agent.obey()
}

// askWhy learns the chain of trust from a node that refuses this one: any node
// gives it to anybody. One that is silent is waited for, as by the dialer.
func (p *process) askWhy(to int) {
	now := p.world.kernel.now
	if p.left || p.asking || to == p.host.index || (p.askedWhy != 0 && now-p.askedWhy < askWhyEvery) {
		return
	}
	p.askedWhy, p.asking = now, true
	p.after(learnTime, func() {
		if p.askedWhy == now {
			p.asking = false
		}
	})
	p.renew()
	net := p.world.net
	net.datagram(p.host.index, to, 'w', func() {
		other := p.world.hosts[to].process
		if other.self == nil {
			return
		}
		chain := other.self.Trust()
		if v := other.voter; v != nil && len(v.store.View().Trust()) > len(chain) {
			chain = v.store.View().Trust()
		}
		net.datagram(to, p.host.index, 'W', func() {
			if !p.dead {
				p.asking = p.asking && p.askedWhy != now
				p.updateTrust(chain)
			}
		})
	})
}
