package sim

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/api"
	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

const (
	// renewAnswer is how long one voter is waited for, renewPause when all are asked
	// again.
	renewAnswer, renewPause = 2 * time.Second, 2 * time.Second
	// lookAtSVID is how often a node looks whether its SVID is due.
	lookAtSVID = time.Minute
)

// renew asks voter after voter for an SVID, itself first, as agent.renewal does.
func (p *process) renew() {
	if p.renewing || p.left || p.dead {
		return
	}
	p.renewing = true
	var voters []int
	for _, peer := range p.peers() {
		switch {
		case peer.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER:
		case peer.GetName() == p.host.name:
			voters = slices.Insert(voters, 0, p.host.index)
		default:
			voters = append(voters, p.world.hostByName(peer.GetName()))
		}
	}
	p.renewAt(voters, p.self.Due())
}

func (p *process) renewAt(voters []int, due bool) {
	if len(voters) == 0 {
		p.after(renewPause, func() {
			p.renewing = false
			if due || !p.self.Counts() || p.ledger.Current().GetRenew() {
				p.renew()
			}
		})
		return
	}
	answered := false
	take := func(answer *sitev1.RenewResponse) {
		if answered || p.dead {
			return
		}
		answered = true
		if answer == nil {
			p.renewAt(voters[1:], due)
			return
		}
		p.updateTrust(answer.GetTrust())
		var err error
		if len(answer.GetSvid()) > 0 {
			err = p.self.Renewed(answer.GetSvid())
		}
		if len(answer.GetSvid()) == 0 || problem.KindOf(err) == problem.Conflict {
			p.renewAt(voters[1:], due) // that one may know less; or its CA retires
			return
		}
		p.renewing = false
		if err != nil {
			p.world.violate(&check.Violation{Rule: check.NoHalt, Message: p.host.name + ": " + err.Error()})
			return
		}
		p.world.trace.note(p.host.name, "has a new SVID of %s", p.leaf().Issuer.CommonName)
		if p.agent != nil && p.agent.session != nil {
			p.agent.session.changed()
		}
	}
	to, net := voters[0], p.world.net
	p.after(renewAnswer, func() { take(nil) })
	net.datagram(p.host.index, to, 'k', func() {
		answer := p.world.hosts[to].process.renews(p, due)
		net.datagram(to, p.host.index, 'K', func() { take(answer) })
	})
}

// renews is a voter's answer to a node that asks for an SVID, by the real
// handler; nil when it refuses.
func (p *process) renews(who *process, due bool) *sitev1.RenewResponse {
	if p.self == nil || p.voter == nil || p.voter.gone() || who.self == nil {
		return nil
	}
	// Who renews is known by the key alone; who is asked is a node of the site.
	if p.host != who.host {
		if _, ok := who.admit(p.leaf()); !ok {
			return nil
		}
	}
	cert := who.self.Certificate()
	peer, err := certs.Claim([]*x509.Certificate{cert.Leaf}, p.self.Bundle())
	if err != nil {
		return nil
	}
	csr, err := certs.NewJoinRequest(chance{p.world.keyRng}, cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		panic("no request for an SVID can be made: " + err.Error())
	}
	request := &sitev1.RenewRequest{Csr: csr}
	if !due {
		request.Present = cert.Certificate[0]
	}
	handler := api.Renew{Log: noLeader{}, Store: p.voter.store, Authority: p.self.Authority, SiteTime: siteClock{p}, Bundle: p.voter.bundle}
	answer, err := handler.Renew(mtls.WithPeer(context.Background(), peer), connect.NewRequest(request))
	if err != nil {
		p.world.trace.note(p.host.name, "does not renew the SVID of %s: %v", who.host.name, err)
		return nil
	}
	return answer.Msg
}

// noLeader is a log in which nobody waits for what others have.
type noLeader struct{}

var errBlocks = errors.New("nothing waits in a simulation")

func (noLeader) Propose(context.Context, *sitev1.Entry) (*sitev1.Outcome, error) {
	return nil, errBlocks
}
func (noLeader) ReadIndex(context.Context) (uint64, error) { return 0, errBlocks }
func (noLeader) Status() consensus.Status                  { return consensus.Status{} }

// siteClock is site time on one process.
type siteClock struct{ p *process }

func (s siteClock) Read() sitetime.Stamp {
	s.p.self.SiteTime().Reach(s.p.voter.store.View().Stamp())
	return s.p.self.SiteTime().Read()
}
func (s siteClock) Clocks() map[string]time.Time { return nil }
func (s siteClock) Median() (time.Time, bool)    { return time.Time{}, false }
func (s siteClock) Set(context.Context, *sitev1.Entry, time.Time, bool) (*sitev1.Outcome, error) {
	return nil, errBlocks
}
