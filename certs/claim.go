package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"skerry.dev/shared/problem"
)

// Claim is who a certificate says it is of, for renewal alone: neither its dates
// nor its CA are looked at, so nothing is proved but that the peer holds the key
// (SAFETY, rule 13). Whoever uses it compares the key with the site's record of
// that name. A revoked key is refused.
func Claim(chain []*x509.Certificate, bundle *Bundle) (Peer, error) {
	if len(chain) == 0 {
		return Peer{}, problem.New(problem.Unauthenticated, "peer", "it showed no certificate")
	}
	leaf := chain[0]
	if leaf.IsCA {
		return Peer{}, problem.New(problem.Unauthenticated, "peer", "its certificate is not an X.509-SVID: it is that of a CA")
	}
	if len(leaf.URIs) != 1 {
		return Peer{}, problem.New(problem.Unauthenticated, "peer", "its certificate is not an X.509-SVID: it has %d SPIFFE IDs, must be one", len(leaf.URIs))
	}
	id, err := spiffeid.FromURI(leaf.URIs[0])
	if err != nil {
		return Peer{}, problem.New(problem.Unauthenticated, "peer", "its certificate is not an X.509-SVID: %w", err)
	}
	if id.TrustDomain() != bundle.domain {
		return Peer{}, problem.New(problem.Unauthenticated, id.String(), "it is of site %s, not of %s", id.TrustDomain().Name(), bundle.Site()).
			WithHint("is the address that of another site?")
	}
	peer, err := peerOf(id)
	if err != nil {
		return Peer{}, err
	}
	if peer.Role != RoleNode && peer.Role != RoleOperator {
		return Peer{}, problem.New(problem.Forbidden, id.String(), "only nodes and operators renew here")
	}
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return Peer{}, problem.New(problem.Unauthenticated, id.String(), "its key is not an ECDSA key on P-256")
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	peer.KeyFingerprint = sum[:]
	return peer, bundle.CheckKey(peer)
}
