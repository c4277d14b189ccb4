package identity

import (
	"slices"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// RecoverOptions say with what a survivor begins the next site epoch.
type RecoverOptions struct {
	State  []byte
	Trust  []*sitev1.TrustVersion
	From   *skerryv1.Recovery
	RaftID uint64
	// Keep stores it for the agent: from then on it is done.
	Keep func(*sitev1.BeginAgain) error
}

// Recover makes this node the only voter of the site's next epoch. Its own CA signs
// the record in the chain of trust.
func (n *Node) Recover(options RecoverOptions) error {
	bundle, err := certs.VerifyTrust(n.SiteID(), options.Trust)
	if err != nil {
		return err
	}
	signer := n.Authority()
	if signer == nil || !bundle.Has(signer.Certificate()) {
		return problem.New(problem.Conflict, "Node/"+n.Name(), "its CA does not count by the chain of trust, so it cannot sign that the site begins anew").
			WithHint("recover on another voter, or restore a backup: skerry site restore")
	}
	version, err := RecoverVersion(n.rand, bundle, options.Trust, signer, certs.TrustChange{})
	if err != nil {
		return err
	}
	options.From.SiteEpoch = bundle.SiteEpoch() + 1
	err = options.Keep(&sitev1.BeginAgain{
		State: options.State, Principal: "spiffe://" + n.Site() + "/node/" + n.Name(),
		Recover: &sitev1.RecoverSite{
			Version: version, Node: &skerryv1.Node{Name: n.Name(), RaftId: options.RaftID}, From: options.From,
		},
	})
	if err != nil {
		return err
	}
	return n.UpdateTrust(append(slices.Clone(options.Trust), version))
}
