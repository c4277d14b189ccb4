package sim

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"skerry.dev/certs"
	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// revocations watches what becomes of keys that were revoked, of the keys of
// gossip, and of CAs.
type revocations struct {
	world *world
	// seen are the revoked keys, with when they were.
	seen []revoked
	// keys of gossip, with when each one came into the log.
	keys map[string]time.Duration
	// versions of the chain of trust that were looked at.
	versions int
	// inReach is since when each host has good links with a majority that
	// coordinates; notGood while it has not.
	inReach []time.Duration
}

type revoked struct {
	subject string
	key     []byte
	at      time.Duration
}

// applied looks at the newest state.
func (r *revocations) applied(view *state.View) {
	w := r.world
	for _, one := range view.Revoked()[len(r.seen):] {
		w.trace.note("site", "%s is revoked", one.GetSubject())
		r.seen = append(r.seen, revoked{subject: one.GetSubject(), key: one.GetKeyFingerprint(), at: w.kernel.now})
	}
	for _, key := range view.Gossip().GetRing().GetKeys() {
		if _, known := r.keys[string(key)]; !known {
			r.keys[string(key)] = w.kernel.now
		}
	}
	if chain := view.Trust(); len(chain) > r.versions {
		if r.versions > 0 {
			r.retired(view, chain[len(chain)-2], chain[len(chain)-1])
		}
		r.versions = len(chain)
	}
}

// retired holds the CAs that left against the truth on the machines. What an
// evicted node issued must be renewed, and until then counts for the keys on
// record.
func (r *revocations) retired(view *state.View, before, after *sitev1.TrustVersion) {
	old, now := &sitev1.TrustBody{}, &sitev1.TrustBody{}
	decode(before.GetBody(), old)
	decode(after.GetBody(), now)
	for _, der := range old.GetAuthorities() {
		left := !slices.ContainsFunc(now.GetAuthorities(), func(other []byte) bool { return string(other) == string(der) })
		authority, err := certs.ParseAuthority(der, siteName)
		if !left || err != nil || r.wasEvicted(view, der) {
			continue
		}
		r.world.violate(check.Retired(authority.Subject.CommonName, r.hangs(view, der)))
	}
}

func (r *revocations) wasEvicted(view *state.View, der []byte) bool {
	return slices.ContainsFunc(view.Nodes(), func(n *skerryv1.Node) bool {
		return n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED && string(n.GetAuthority()) == string(der)
	})
}

// hangs names a node of the site that a CA issued something for.
func (r *revocations) hangs(view *state.View, der []byte) string {
	sum := sha256.Sum256(der)
	for _, n := range view.Nodes() {
		h := r.world.hosts[r.world.hostByName(n.GetName())]
		if n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || h.process == nil || h.process.self == nil {
			continue
		}
		if string(h.process.issuer()) == string(sum[:]) {
			return h.name
		}
		for name, issuer := range h.identities {
			if p := view.Placement(project, name); issuer == sum && p.GetNode() == h.name && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
				return h.name
			}
		}
	}
	return ""
}

// look at all nodes: who is in reach refuses who was revoked, and who was evicted
// learns no new key.
func (r *revocations) look() {
	w, now := r.world, r.world.kernel.now
	at := w.coordinates()
	for i, h := range w.hosts {
		p := h.process
		good := at >= 0 && p != nil && p.self != nil && !p.self.Evicted() && w.linked(i, at)
		switch {
		case !good:
			r.inReach[i] = notGood
		case r.inReach[i] == notGood:
			r.inReach[i] = now
		}
		if p == nil || p.self == nil {
			continue
		}
		fingerprint := string(w.fingerprint(p.leaf()))
		for _, one := range r.seen {
			if string(one.key) == fingerprint {
				w.violate(check.Learnt(h.name, r.known(p), func(key []byte) bool { return r.keys[string(key)] > one.at }))
			} else if good {
				w.violate(check.Refused(h.name, one.subject, p.self.Bundle().Revoked(one.key) != "", now-one.at, now-r.inReach[i]))
			}
		}
	}
}

// known are the keys of gossip that a process has come to know, on whatever way.
func (r *revocations) known(p *process) [][]byte {
	keys := slices.Concat(p.members.ring, p.ledger.Current().GetGossip().GetKeys())
	if p.voter != nil {
		keys = append(keys, p.voter.store.View().Gossip().GetRing().GetKeys()...)
	}
	return keys
}

// inReach: the host has good links with the coordinator, and that with a majority
// of voters.
func (w *world) inReach(host int) bool {
	at := w.coordinates()
	return at >= 0 && w.linked(host, at)
}

// linked: nothing is wrong between two hosts.
func (w *world) linked(a, b int) bool {
	still := w.hosts[a].process.isPaused() || w.hosts[b].process.isPaused()
	return !still && w.net.reachable(a, b) && w.net.quality(a, b) == healthy && w.net.quality(b, a) == healthy
}

// coordinates is the host of a coordinator that has good links with a majority of
// voters; -1 for none.
func (w *world) coordinates() int {
	at := w.coordinatorHost()
	if at < 0 || w.available == nil {
		return -1
	}
	voters, with := w.voterHosts(), 0
	for _, v := range voters {
		if w.available.good(at, v) {
			with++
		}
	}
	if 2*with <= len(voters) {
		return -1
	}
	return at
}

// unsettledTrust lists what is not in order with identities.
func (w *world) unsettledTrust() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	view := w.newest
	if view.Gossip().GetDue() || view.GossipNext() {
		say("the gossip keys are still being rotated")
	}
	if retiring := view.Retiring(); len(retiring) > 0 {
		say("%d CAs are still to be retired", len(retiring))
	}
	for _, n := range view.Nodes() {
		h := w.hosts[w.hostByName(n.GetName())]
		p := h.process
		if n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			if n.GetRaftId() != 0 {
				say("%s was evicted and still has replica %d", n.GetName(), n.GetRaftId())
			}
			continue
		}
		if n.GetRaftId() != 0 && !n.GetWitness() && n.GetAuthorityGeneration() < view.AuthorityGeneration() {
			say("%s has no new CA yet", n.GetName())
		}
		if p == nil || p.self == nil {
			continue
		}
		if p.self.Bundle().Version() < uint64(len(view.Trust())) {
			say("%s believes version %d of the chain of trust, not %d", h.name, p.self.Bundle().Version(), len(view.Trust()))
		}
		if !p.self.Counts() {
			say("the SVID of %s does not count", h.name)
		}
		if p.members.version != view.Gossip().GetRing().GetVersion() {
			say("%s has version %d of the gossip keys", h.name, p.members.version)
		}
	}
	return out
}
