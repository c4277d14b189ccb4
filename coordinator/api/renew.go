package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// Renew implements sitev1connect.RenewServiceHandler on every voter, also
// without a quorum: what it issues is for the key that is on record already, so
// nothing is written to the log.
type Renew struct {
	Log   Log
	Store *state.Store
	// Authority is the CA of this voter; nil while it has none.
	Authority func() *certs.Authority
	SiteTime  SiteTime
	// Bundle is the verified one of a state's chain of trust; nil verifies the chain
	// for each call.
	Bundle func(*state.View) (*certs.Bundle, error)
}

// Renew issues an SVID for the ID and the key that the caller has.
func (r Renew) Renew(ctx context.Context, req *connect.Request[sitev1.RenewRequest]) (*connect.Response[sitev1.RenewResponse], error) {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer is nobody on record
	response, err := r.renew(ctx, peer, req.Msg)
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(response), nil
}

func (r Renew) renew(ctx context.Context, peer certs.Peer, req *sitev1.RenewRequest) (*sitev1.RenewResponse, error) {
	r.catchUp(ctx)
	view := r.Store.View()
	if err := checkRecord(view, peer); err != nil {
		return nil, err
	}
	key, err := certs.CheckJoinRequest(req.GetCsr())
	if err != nil {
		return nil, problem.New(problem.Invalid, peer.ID.String(), "the certificate request is not usable: %w", err).WithField("csr")
	}
	if !bytes.Equal(certs.Fingerprint(key), peer.KeyFingerprint) {
		return nil, problem.New(problem.Invalid, peer.ID.String(), "the certificate request is of another key than that of the connection").WithField("csr")
	}
	response := &sitev1.RenewResponse{}
	if response.Trust, response.More = certs.TrustPage(view.Trust(), req.GetAfter()); response.More {
		return response, nil
	}
	bundle, err := r.bundle(view)
	if err != nil {
		return nil, err
	}
	stamp := r.SiteTime.Read()
	now := stamp.Time
	if !mustRenew(view, peer) && stillDoes(req.GetPresent(), peer, bundle, stamp) {
		return response, nil
	}
	authority := r.Authority()
	if authority == nil || !bundle.Has(authority.Certificate()) || !now.Before(authority.Certificate().NotAfter) {
		return nil, problem.New(problem.Unavailable, peer.ID.String(), "the CA of this voter does not count, or not yet, or not any more").
			WithHint("another voter may renew it; the site mends this by itself within seconds")
	}
	if mustKeep(view, peer, bundle, authority, now) {
		return nil, problem.New(problem.Unavailable, peer.ID.String(), "nodes that were not heard since the site was recovered know it by its present SVID, and not the CA of this voter").
			WithHint("it is renewed when they were heard, or evicted: skerry site report names them")
	}
	leaf, err := issueAgain(authority, view, peer, key, now)
	if err != nil {
		return nil, problem.New(problem.Unavailable, peer.ID.String(), "the SVID could not be issued: %w", err)
	}
	response.Svid = [][]byte{leaf}
	return response, nil
}

func (r Renew) bundle(view *state.View) (*certs.Bundle, error) {
	if r.Bundle != nil {
		return r.Bundle(view)
	}
	return certs.VerifyTrust(view.SiteID(), view.Trust())
}

// catchUp waits, not long, until the state is as new as the log: it may say that
// the caller was revoked. Without a quorum what is known has to do: whoever was
// revoked meanwhile is refused by all who know.
func (r Renew) catchUp(ctx context.Context) {
	if r.Log.Status().Leader == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, _ = r.Log.ReadIndex(ctx) // see above
}

// checkRecord: the key is the one that the site has on record for the name.
func checkRecord(view *state.View, peer certs.Peer) error {
	var recorded []byte
	subject := "Node/" + peer.Name
	switch peer.Role {
	case certs.RoleNode:
		node := view.Node(peer.Name)
		if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			return problem.New(problem.Forbidden, subject, "the node was removed from the site").
				WithHint("to use the machine again: stop the agent, move its state directory away, then join with a new token")
		}
		recorded = node.GetKeyFingerprint()
	case certs.RoleOperator:
		subject = "Operator/" + peer.Name
		recorded = view.Operator(peer.Name).GetKeyFingerprint()
	}
	switch {
	case view.IsRevoked(peer.KeyFingerprint):
		return problem.New(problem.Forbidden, subject, "its key was revoked").WithHint("join again with a new token")
	case len(recorded) == 0:
		return problem.New(problem.Forbidden, subject, "the site has no record of it").WithHint("join with a new token")
	case !bytes.Equal(recorded, peer.KeyFingerprint):
		return problem.New(problem.Forbidden, subject, "the site knows it with another key than %s", hex.EncodeToString(peer.KeyFingerprint[:8])).
			WithHint("the credentials of the last join are those that count")
	}
	return nil
}

// mustRenew: the CA of the caller's SVID is going to be retired.
func mustRenew(view *state.View, peer certs.Peer) bool {
	return peer.Role == certs.RoleNode && view.MustRenew(view.Node(peer.Name))
}

// mustKeep: the caller tells others that the site was recovered. They know the CAs from
// before alone, and refuse it for good with an SVID of another one; so it keeps what it
// has while that counts.
func mustKeep(view *state.View, peer certs.Peer, bundle *certs.Bundle, authority *certs.Authority, now time.Time) bool {
	if peer.Role != certs.RoleNode || peer.Name != view.Calls() || bundle.CountedBefore(authority.Certificate()) {
		return false
	}
	node := view.Node(peer.Name)
	if len(node.GetSvidIssuer()) == 0 {
		return true // it has not said yet what it has
	}
	return now.Before(node.GetSvidExpires().AsTime()) && slices.ContainsFunc(bundle.Authorities(), func(ca *x509.Certificate) bool {
		sum := sha256.Sum256(ca.Raw)
		return bytes.Equal(sum[:], node.GetSvidIssuer())
	})
}

// stillDoes tells whether the SVID that the caller has needs no other one.
func stillDoes(present []byte, peer certs.Peer, bundle *certs.Bundle, now sitetime.Stamp) bool {
	leaf, err := x509.ParseCertificate(present)
	if len(present) == 0 || err != nil || now.Known() && bundle.Due(leaf, now.Time) {
		return false
	}
	shown, err := certs.VerifyPeer([]*x509.Certificate{leaf}, bundle, now.Time)
	return err == nil && shown.ID == peer.ID && bytes.Equal(shown.KeyFingerprint, peer.KeyFingerprint)
}

func issueAgain(authority *certs.Authority, view *state.View, peer certs.Peer, key any, now time.Time) ([]byte, error) {
	if peer.Role == certs.RoleOperator {
		return authority.IssueOperatorFor(peer.Name, key, now, view.Lifetimes().Operator)
	}
	return authority.IssueNode(certs.NodeRequest{
		Name: peer.Name, PublicKey: key, Addresses: ownAddresses(view, view.Node(peer.Name)),
		Lifetime: view.Lifetimes().Node,
	}, now)
}
