package coordinator

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

const (
	// trustEvery is how often the coordinator looks for CAs to add.
	trustEvery = 500 * time.Millisecond
	trustTime  = 5 * time.Second
)

// extendTrust adds the CAs of new replicas to the chain of trust. A coordinator
// whose own CA does not count cannot sign, and hands the leadership to a voter
// that can.
func (v *Voter) extendTrust(ctx context.Context) error {
	for {
		if err := env.Sleep(ctx, v.Env.Clock, trustEvery); err != nil {
			return err
		}
		if !v.node.Status().Serving {
			continue
		}
		if err := v.addAuthorities(ctx); err != nil {
			v.Logger.Warn("the chain of trust could not be extended", "error", err)
		}
	}
}

func (v *Voter) addAuthorities(ctx context.Context) error {
	view := v.store.View()
	if view.SiteID() == "" {
		return nil
	}
	var missing []*x509.Certificate
	var signers, leaving []uint64 // voters whose CAs count
	bundle, err := certs.VerifyTrust(view.SiteID(), view.Trust())
	if err != nil {
		return err
	}
	for _, node := range view.Nodes() {
		if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED || len(node.GetAuthority()) == 0 {
			continue
		}
		authority, err := x509.ParseCertificate(node.GetAuthority())
		if err != nil {
			return fmt.Errorf("the CA of node %s does not parse: %w", node.GetName(), err)
		}
		switch {
		case !bundle.Has(authority):
			missing = append(missing, authority)
		case node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER:
		case node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED:
			leaving = append(leaving, node.GetRaftId())
		default:
			signers = append(signers, node.GetRaftId())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, trustTime)
	defer cancel()
	signer := v.Authority()
	if signer == nil || !bundle.Has(signer.Certificate()) {
		if len(signers) == 0 {
			signers = leaving // they sign before they hand over
		}
		if len(signers) == 0 {
			return errors.New("no voter has a CA that counts")
		}
		return v.node.TransferLeadership(ctx, signers...)
	}
	chain := view.Trust()
	next, err := certs.ExtendTrust(chain[len(chain)-1], signer, missing...)
	if err != nil {
		return err
	}
	_, err = v.Propose(ctx, &sitev1.Entry{
		RequestId: v.newID(), Principal: "coordinator",
		Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}},
	})
	return err
}

// whoSign are those of the replicas whose CAs count. A coordinator that cannot
// sign would hand the leadership back.
func (v *Voter) whoSign(view *state.View, replicas []uint64) ([]uint64, error) {
	bundle, err := certs.VerifyTrust(view.SiteID(), view.Trust())
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
