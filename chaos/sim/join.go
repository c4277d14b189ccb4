package sim

import (
	"crypto/ecdsa"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent"
	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/sitetime"
)

// joinEvery is how often whoever joins asks again.
const joinEvery = time.Second

// token with which the host joins in its present life.
func (h *host) token() *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token: &skerryv1.Token{
			Id: fmt.Sprintf("token-%s-%d", h.name, h.lives), Role: "node", Name: h.name,
			Expires: timestamppb.New(simulationStart.Add(10 * 365 * 24 * time.Hour)),
		},
		SecretHash: tokenHash(h.name, h.lives), Zone: h.zone, Witness: h.world.options.Witness && h.index == 2,
	}}}
}

// join asks the coordinator, again and again, to be let in.
func (p *process) join() {
	key, err := identity.Pending(p.host.system(), identity.Dir(stateDir))
	if err != nil {
		panic("there is no key to join with: " + err.Error())
	}
	p.askToJoin(key)
}

func (p *process) askToJoin(key *ecdsa.PrivateKey) {
	if p.self != nil {
		return
	}
	p.after(joinEvery, func() { p.askToJoin(key) })
	to, net := p.world.coordinatorHost(), p.world.net
	if to < 0 {
		return
	}
	net.datagram(p.host.index, to, 'j', func() {
		p.world.hosts[to].process.letIn(p.host, key, func(answer *sitev1.JoinResponse) {
			net.datagram(to, p.host.index, 'J', func() { p.joined(key, answer) })
		})
	})
}

// letIn is a coordinator's part of a join (coordinator/api/join.go).
func (p *process) letIn(h *host, key *ecdsa.PrivateKey, done func(*sitev1.JoinResponse)) {
	if p.voter == nil || p.voter.lead == nil {
		return
	}
	v, authority := p.voter, p.self.Authority()
	bundle, err := v.bundle(v.store.View())
	if err != nil || authority == nil || !bundle.Has(authority.Certificate()) {
		return
	}
	change := &sitev1.JoinSite{
		SecretHash: tokenHash(h.name, h.lives), KeyFingerprint: certs.Fingerprint(key.Public()), Node: h.record(),
	}
	if v.store.View().CheckJoin(change) != nil {
		return
	}
	entry := &sitev1.Entry{
		RequestId: fmt.Sprintf("join-%s-%d", h.name, p.world.kernel.now), Principal: "token",
		Change: &sitev1.Entry_JoinSite{JoinSite: change},
	}
	v.propose(entry, func(c consensus.Completion) {
		if c.Err != nil || c.Outcome.GetErrorKind() != "" {
			return // its operator tries again
		}
		done(issueNode(v.store.View(), authority, key, c.Outcome.GetNode(), siteClock{p}.Read()))
	})
}

func issueNode(view *state.View, authority *certs.Authority, key *ecdsa.PrivateKey, node *skerryv1.Node, now sitetime.Stamp) *sitev1.JoinResponse {
	leaf, err := authority.IssueNode(certs.NodeRequest{
		Name: node.GetName(), PublicKey: key.Public(), Addresses: []string{node.GetAddress()}, Lifetime: view.Lifetimes().Node,
	}, now.Time)
	if err != nil {
		panic("an SVID cannot be issued: " + err.Error())
	}
	return &sitev1.JoinResponse{
		Role: string(certs.RoleNode), Name: node.GetName(), Node: node, Svid: [][]byte{leaf}, Trust: view.Trust(),
		GossipKey: view.GossipKey(), Peers: view.Peers(), Clock: now.Message(),
	}
}

// joined takes over what the site answers.
func (p *process) joined(key *ecdsa.PrivateKey, answer *sitev1.JoinResponse) {
	if p.dead || p.self != nil {
		return
	}
	siteID := p.world.init.GetSiteId()
	err := identity.Joined(p.host.system(), siteID, stateDir, key, answer, func(answer *sitev1.JoinResponse) error {
		return agent.KeepJoin(p.host.disk, stateDir, siteName, siteID, answer)
	})
	if err != nil {
		panic("the identity of a node that joins cannot be written: " + err.Error())
	}
	p.world.trace.note(p.host.name, "joined the site")
	p.host.member = true
	p.boot()
}
