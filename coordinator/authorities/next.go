// Package authorities decides which CAs the chain of trust names next, and when
// they are made anew. It is pure: the coordinator carries it out.
package authorities

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Due is how the next version of the chain of trust differs from the last one.
type Due struct {
	Change certs.TrustChange
	// Signers are the replicas of voters whose CAs count, Leaving those of nodes
	// that were removed.
	Signers, Leaving []uint64
}

// Empty: there is nothing to write.
func (d *Due) Empty() bool {
	return len(d.Change.Add) == 0 && len(d.Change.Drop) == 0 && len(d.Change.Revoke) == 0 && len(d.Change.AuditKeys) == 0 &&
		d.Change.JwtKeys == nil
}

// MaySign: a CA signs its own end only when no other voter could.
func (d *Due) MaySign(bundle *certs.Bundle, authority *x509.Certificate) bool {
	return bundle.Has(authority) && (len(d.Signers) == 0 || !slices.ContainsFunc(d.Change.Drop, authority.Equal))
}

// Next is what the records ask of the chain of trust: the CAs of the replicas, none
// of evicted nodes, every revoked key. It believes no node what it says of its own
// CA: one that says what cannot be true keeps nothing else out of the chain, and
// one that names the CA of another does not take that with it when it is evicted.
func Next(view *state.View, bundle *certs.Bundle) *Due {
	due, issuers, authorities := &Due{}, view.Issuers(), view.Authorities()
	for node := range view.AllNodes() {
		authority := authorities[node.GetName()]
		if authority == nil {
			continue // thousands have none
		}
		if of, issues := issuers[sha256.Sum256(authority.Raw)]; issues && of != node.GetName() {
			continue
		}
		due.look(node, authority, bundle.Has(authority))
	}
	if len(due.Change.Add) == 0 {
		due.retire(view, bundle)
	}
	for _, r := range view.Revoked() {
		if bundle.Revoked(r.GetKeyFingerprint()) == "" {
			due.Change.Revoke = append(due.Change.Revoke, r)
		}
	}
	return due
}

// look at one node's CA. That of an evicted node leaves at once: whoever has
// the machine can issue with it (SAFETY, rule 13).
func (d *Due) look(node *skerryv1.Node, authority *x509.Certificate, counts bool) {
	votes := node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER
	evicted := node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
	switch {
	case evicted && counts:
		d.Change.Drop = append(d.Change.Drop, authority)
		if votes {
			d.Leaving = append(d.Leaving, node.GetRaftId())
		}
	case evicted:
	case node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED:
	case !counts:
		d.Change.Add = append(d.Change.Add, authority)
	case votes:
		d.Signers = append(d.Signers, node.GetRaftId())
	}
}

// retire CAs that issue no more, once no node's SVID hangs on them. Operators
// and nodes that were away renew by their keys, whatever their CA was.
func (d *Due) retire(view *state.View, bundle *certs.Bundle) {
	issuers := view.Issuers()
	for _, authority := range bundle.Authorities() {
		_, issues := issuers[sha256.Sum256(authority.Raw)]
		if issues || len(view.HangsOn(authority.Raw)) > 0 || slices.ContainsFunc(d.Change.Drop, authority.Equal) {
			continue
		}
		if len(d.Change.Drop)+1 < len(bundle.Authorities()) {
			d.Change.Drop = append(d.Change.Drop, authority)
		}
	}
}
