package coordinator

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

const (
	// trustEvery is how often the coordinator looks at the chain of trust at
	// least, trustRest the shortest time between two looks.
	trustEvery = 500 * time.Millisecond
	trustRest  = 50 * time.Millisecond
	trustTime  = 5 * time.Second
)

// followTrust keeps the chain of trust as the records want it: with the CAs of
// the replicas, without those of evicted nodes, with every revoked key.
func (v *Voter) followTrust(ctx context.Context) error {
	timer := v.Env.Clock.NewTimer(trustEvery)
	defer timer.Stop()
	for {
		changed := v.store.Changed()
		if v.node.Status().Serving {
			if err := v.extendTrust(ctx); err != nil {
				v.Logger.Warn("the chain of trust could not be extended", "error", err)
			}
		}
		timer.Reset(trustEvery)
		select {
		case <-changed:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := env.Sleep(ctx, v.Env.Clock, trustRest); err != nil {
			return err
		}
	}
}

// extendTrust writes the next version if one is due. A coordinator whose own CA
// does not count cannot sign, and hands the leadership to a voter that can.
func (v *Voter) extendTrust(ctx context.Context) error {
	view := v.store.View()
	if view.SiteID() == "" {
		return nil
	}
	bundle, err := v.bundle(view)
	if err != nil {
		return err
	}
	due := dueTrust(view, bundle)
	if err := v.dueKeys(view, due); err != nil || due.empty() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, trustTime)
	defer cancel()
	signer := v.Authority()
	if signer == nil || !due.maySign(bundle, signer.Certificate()) {
		signers := due.signers
		if len(signers) == 0 {
			signers = due.leaving // they sign before they hand over
		}
		if len(signers) == 0 {
			return errors.New("no voter has a CA that counts")
		}
		return v.node.TransferLeadership(ctx, signers...)
	}
	chain := view.Trust()
	next, err := certs.ExtendTrust(chain[len(chain)-1], signer, due.change)
	if err != nil {
		return err
	}
	_, err = v.Propose(ctx, &sitev1.Entry{
		RequestId: v.newID(), Principal: "coordinator",
		Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}},
	})
	return err
}

// bundle of the newest version. Verifying a chain takes a signature for each
// version, so it is done once for each.
func (v *Voter) bundle(view *state.View) (*certs.Bundle, error) {
	v.trustMu.Lock()
	defer v.trustMu.Unlock()
	chain := view.Trust()
	if v.trusted != nil && v.trusted.Version() == uint64(len(chain)) {
		return v.trusted, nil // versions are only ever appended
	}
	bundle, err := certs.VerifyTrust(view.SiteID(), chain)
	if err == nil {
		v.trusted = bundle
	}
	return bundle, err
}

// trustDue is how the next version of the chain differs from the last one.
type trustDue struct {
	change certs.TrustChange
	// signers are voters whose CAs count, leaving those that were removed.
	signers, leaving []uint64
}

func (d *trustDue) empty() bool {
	return len(d.change.Add) == 0 && len(d.change.Drop) == 0 && len(d.change.Revoke) == 0 && len(d.change.AuditKeys) == 0
}

// maySign: a CA signs its own end only when no other voter could.
func (d *trustDue) maySign(bundle *certs.Bundle, authority *x509.Certificate) bool {
	return bundle.Has(authority) && (len(d.signers) == 0 || !slices.ContainsFunc(d.change.Drop, authority.Equal))
}

// dueTrust believes no node what it says of its own CA: one that says what
// cannot be true keeps nothing else out of the chain, and one that names the CA
// of another does not take that with it when it is evicted.
func dueTrust(view *state.View, bundle *certs.Bundle) *trustDue {
	due, issuers := &trustDue{}, view.Issuers()
	for _, node := range view.Nodes() {
		authority, err := certs.ParseAuthority(node.GetAuthority(), bundle.Site())
		if err != nil {
			continue
		}
		if of, issues := issuers[sha256.Sum256(authority.Raw)]; issues && of != node.GetName() {
			continue
		}
		due.look(node, authority, bundle.Has(authority))
	}
	if len(due.change.Add) == 0 {
		due.retire(view, bundle)
	}
	for _, r := range view.Revoked() {
		if bundle.Revoked(r.GetKeyFingerprint()) == "" {
			due.change.Revoke = append(due.change.Revoke, r)
		}
	}
	return due
}

// dueKeys are those with which the replicas sign the audit log.
func (v *Voter) dueKeys(view *state.View, due *trustDue) error {
	known, err := v.auditKeys(view)
	if err != nil {
		return err
	}
	for _, node := range view.Nodes() {
		replica := node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED
		if key := node.GetAuditKey(); replica && len(key) > 0 && !known.Has(node.GetName(), key) {
			due.change.AuditKeys = append(due.change.AuditKeys, &sitev1.AuditKey{Node: node.GetName(), Key: key})
		}
	}
	return nil
}

// look at one node's CA. That of an evicted node leaves at once: whoever has
// the machine can issue with it (SAFETY, rule 13).
func (d *trustDue) look(node *skerryv1.Node, authority *x509.Certificate, counts bool) {
	votes := node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER
	evicted := node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
	switch {
	case evicted && counts:
		d.change.Drop = append(d.change.Drop, authority)
		if votes {
			d.leaving = append(d.leaving, node.GetRaftId())
		}
	case evicted:
	case node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED:
	case !counts:
		d.change.Add = append(d.change.Add, authority)
	case votes:
		d.signers = append(d.signers, node.GetRaftId())
	}
}

// retire CAs that issue no more, once no node's SVID hangs on them. Operators
// and nodes that were away renew by their keys, whatever their CA was.
func (d *trustDue) retire(view *state.View, bundle *certs.Bundle) {
	issuers := view.Issuers()
	for _, authority := range bundle.Authorities() {
		_, issues := issuers[sha256.Sum256(authority.Raw)]
		if issues || len(view.HangsOn(authority.Raw)) > 0 || slices.ContainsFunc(d.change.Drop, authority.Equal) {
			continue
		}
		if len(d.change.Drop)+1 < len(bundle.Authorities()) {
			d.change.Drop = append(d.change.Drop, authority)
		}
	}
}

// whoSign are those of the replicas whose CAs count. A coordinator that cannot
// sign would hand the leadership back.
func (v *Voter) whoSign(view *state.View, replicas []uint64) ([]uint64, error) {
	bundle, err := v.bundle(view)
	if err != nil {
		return nil, err
	}
	var sign []uint64
	for _, node := range view.Nodes() {
		if !slices.Contains(replicas, node.GetRaftId()) {
			continue
		}
		if authority, err := x509.ParseCertificate(node.GetAuthority()); err == nil && bundle.Has(authority) {
			sign = append(sign, node.GetRaftId())
		}
	}
	return sign, nil
}
