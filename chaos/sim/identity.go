package sim

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/dispatcher"
	identities "skerry.dev/coordinator/issuer"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// identityEvery is how often a node asks for what it has no identity of yet.
const identityEvery = 2 * time.Second

// asking says whether a workload asks for identities: some do.
func asking(workload string) bool {
	return workload == "api" || workload == "cache" || workload == "edge-a"
}

// askForIdentities asks the coordinator for what is missing here, and, as a node
// would that somebody broke into, for one of another node.
func (a *node) askForIdentities() {
	held := a.host.identities
	missing, named := []string(nil), map[string]bool{}
	for _, p := range a.ledger.Current().GetPlacements() {
		named[p.GetName()] = true
		if p.GetSpec().GetIdentity() && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && !a.lasts(held[p.GetName()]) {
			missing = append(missing, p.GetName())
		}
	}
	for name := range held {
		if !named[name] {
			delete(held, name)
		}
	}
	to := a.coordinator()
	if to < 0 {
		return
	}
	for _, name := range append(missing, a.others()...) {
		a.askForIdentity(to, name)
	}
}

// others is at most one placement that is none of this node's business.
func (a *node) others() []string {
	if a.world.newest == nil {
		return nil
	}
	all := slices.DeleteFunc(slices.Clone(a.world.newest.Placements()), func(p *skerryv1.Placement) bool { return p.GetNode() == a.host.name })
	if len(all) == 0 {
		return nil
	}
	return []string{all[a.rng.IntN(len(all))].GetName()}
}

// askForIdentity sends the question and takes the answer; either may be lost.
func (a *node) askForIdentity(to int, name string) {
	w, from := a.world, a.host.index
	w.net.datagram(from, to, digest([]byte("identity "+name)), func() {
		issuer, ok := w.hosts[to].process.issues(a.process, name)
		if !ok {
			return
		}
		w.net.datagram(to, from, digest([]byte("issued "+name)), func() {
			if !a.dead && a.lasts(issuer) {
				a.host.identities[name] = issuer
				a.session.changed()
			}
		})
	})
}

// issues is a coordinator's answer to a node that asks for an identity: the CA
// that issued it.
func (p *process) issues(who *process, name string) (issuer [sha256.Size]byte, ok bool) {
	if p == nil || p.voter == nil || p.voter.lead == nil || p.voter.lead.over() || !p.connects(who) {
		return issuer, false
	}
	view, node := p.voter.store.View(), who.host.name
	peer, _ := p.admit(who.leaf())
	authority := p.self.Authority()
	if dispatcher.CheckNode(view, peer) != nil || authority == nil || !p.self.Bundle().Has(authority.Certificate()) {
		return issuer, false
	}
	entitled := node
	if p.world.has(AnyIdentity) {
		entitled = view.Placement(project, name).GetNode()
	}
	if _, err := identities.Entitled(view, entitled, project, name); err != nil {
		return issuer, false
	}
	p.world.violate(check.Issued(node, view.Placement(project, name)))
	return sha256.Sum256(authority.Certificate().Raw), true
}

// lasts: what this CA issued counts and goes on to count.
func (a *node) lasts(issuer [sha256.Size]byte) bool {
	retires := slices.ContainsFunc(a.ledger.Current().GetRetiring(), func(sum []byte) bool { return bytes.Equal(sum, issuer[:]) })
	return !retires && slices.ContainsFunc(a.self.Bundle().Authorities(), func(authority *x509.Certificate) bool {
		return sha256.Sum256(authority.Raw) == issuer
	})
}

// issuers are the CAs that the identities here hang on.
func (a *node) issuers() [][]byte {
	if a.world.has(MuteIssuers) {
		return nil
	}
	var sums [][]byte
	for _, issuer := range a.host.identities {
		sums = append(sums, issuer[:])
	}
	slices.SortFunc(sums, bytes.Compare)
	return slices.CompactFunc(sums, bytes.Equal)
}

// withoutIdentity lists what runs and has no identity although it asks for one.
func (w *world) withoutIdentity() []string {
	var missing []string
	for _, h := range w.hosts {
		for _, p := range w.newest.PlacementsOn(h.name) {
			if p.GetSpec().GetIdentity() && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && h.identities[p.GetName()] == [sha256.Size]byte{} {
				missing = append(missing, fmt.Sprintf("%s on %s has no identity", p.GetName(), h.name))
			}
		}
	}
	return missing
}
