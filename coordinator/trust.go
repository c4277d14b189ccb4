package coordinator

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"skerry.dev/certs"
	"skerry.dev/coordinator/authorities"
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
			v.renewAuthorities(ctx)
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
	due := authorities.Next(view, bundle)
	due.Change.JwtKeys = authorities.JwtKeys(view, bundle, v.stamp().Time)
	if err := v.dueKeys(view, due); err != nil || due.Empty() {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, trustTime)
	defer cancel()
	signer := v.Authority()
	if signer == nil || !due.MaySign(bundle, signer.Certificate()) {
		signers := due.Signers
		if len(signers) == 0 {
			signers = due.Leaving // they sign before they hand over
		}
		if len(signers) == 0 {
			return errors.New("no voter has a CA that counts")
		}
		return v.node.TransferLeadership(ctx, signers...)
	}
	chain := view.Trust()
	next, err := certs.ExtendTrust(chain[len(chain)-1], signer, due.Change)
	if err != nil {
		return err
	}
	_, err = v.Propose(ctx, &sitev1.Entry{
		RequestId: v.newID(), Principal: "coordinator",
		Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}},
	})
	return err
}

// renewAuthorities begins a rotation before CAs expire. Nobody needs to know that
// they do.
func (v *Voter) renewAuthorities(ctx context.Context) {
	if now := v.stamp(); !now.Known() || !authorities.RotationDue(v.store.View(), now.Time) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, trustTime)
	defer cancel()
	outcome, err := v.Propose(ctx, &sitev1.Entry{
		RequestId: v.newID(), Principal: "coordinator",
		Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}},
	})
	if err != nil || outcome.GetErrorKind() != "" {
		v.Logger.Debug("the CAs could not be renewed yet", "error", err, "refused", outcome.GetError())
		return
	}
	v.Logger.Info("a CA has run for half of its life, or begins after site time: all voters make new ones")
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

// dueKeys are those with which the replicas sign the audit log.
func (v *Voter) dueKeys(view *state.View, due *authorities.Due) error {
	known, err := v.auditKeys(view)
	if err != nil {
		return err
	}
	for node := range view.AllNodes() {
		replica := node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED
		if key := node.GetAuditKey(); replica && len(key) > 0 && !known.Has(node.GetName(), key) {
			due.Change.AuditKeys = append(due.Change.AuditKeys, &sitev1.AuditKey{Node: node.GetName(), Key: key})
		}
	}
	return nil
}

// whoSign are those of the replicas whose CAs count. A coordinator that cannot
// sign would hand the leadership back.
func (v *Voter) whoSign(view *state.View, replicas []uint64) ([]uint64, error) {
	bundle, err := v.bundle(view)
	if err != nil {
		return nil, err
	}
	var sign []uint64
	for node := range view.AllNodes() {
		if !slices.Contains(replicas, node.GetRaftId()) {
			continue
		}
		if authority, err := x509.ParseCertificate(node.GetAuthority()); err == nil && bundle.Has(authority) {
			sign = append(sign, node.GetRaftId())
		}
	}
	return sign, nil
}
