package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"skerry.dev/shared/problem"
)

// Role is the first path segment of a SPIFFE ID.
type Role string

// The roles.
const (
	RoleNode     Role = "node"
	RoleOperator Role = "operator"
	RoleWorkload Role = "workload"
)

// Peer is who is at the other end of a connection.
type Peer struct {
	ID   spiffeid.ID
	Role Role
	// Name is the rest of the path: of a node or operator its name, of a
	// workload PROJECT/NAME.
	Name string
	// KeyFingerprint is the SHA-256 of the public key (SubjectPublicKeyInfo).
	KeyFingerprint []byte
}

// VerifyPeer checks a certificate chain, leaf first, against a bundle at the
// given time: X.509-SVID validation (one URI SAN, no CA leaf), the site's trust
// domain, and a path of ours.
func VerifyPeer(chain []*x509.Certificate, bundle *Bundle, now time.Time) (Peer, error) {
	id, _, err := x509svid.Verify(chain, bundle, x509svid.WithTime(now))
	if err != nil {
		return Peer{}, explainInvalid(chain, bundle, now, err)
	}
	leaf := chain[0]
	peer, err := peerOf(id)
	if err != nil {
		return Peer{}, err
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	peer.KeyFingerprint = sum[:]
	return peer, nil
}

func peerOf(id spiffeid.ID) (Peer, error) {
	role, name, found := strings.Cut(strings.TrimPrefix(id.Path(), "/"), "/")
	switch Role(role) {
	case RoleNode, RoleOperator, RoleWorkload:
		if found && name != "" {
			return Peer{ID: id, Role: Role(role), Name: name}, nil
		}
	}
	return Peer{}, problem.New(problem.Unauthenticated, id.String(), "the SPIFFE ID is of no kind that this site issues")
}

// explainInvalid turns a failed verification into something to act upon.
func explainInvalid(chain []*x509.Certificate, bundle *Bundle, now time.Time, err error) error {
	if len(chain) == 0 {
		return problem.New(problem.Unauthenticated, "", "the peer showed no certificate")
	}
	leaf := chain[0]
	subject := leaf.Subject.CommonName
	if len(leaf.URIs) == 1 {
		subject = leaf.URIs[0].String()
	}
	switch {
	case now.After(leaf.NotAfter):
		return problem.New(problem.Unauthenticated, subject, "its certificate expired on %s, it is %s now",
			leaf.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly)).
			WithHint("check the clocks of both machines; else join again")
	case now.Before(leaf.NotBefore):
		return problem.New(problem.Unauthenticated, subject, "its certificate counts from %s, it is %s now",
			leaf.NotBefore.Format(time.DateOnly), now.Format(time.DateOnly)).
			WithHint("check the clocks of both machines")
	case !bundle.signed(leaf):
		return problem.New(problem.Unauthenticated, subject, "its certificate was not issued by a CA of site %s", bundle.Site()).
			WithHint("it belongs to another site, or to one of the same name that was set up anew")
	}
	return problem.New(problem.Unauthenticated, subject, "its certificate is not a valid X.509-SVID: %w", err)
}

// signed: some CA of the bundle has the key that the leaf names as its issuer.
func (b *Bundle) signed(leaf *x509.Certificate) bool {
	for _, authority := range b.authorities {
		if bytes.Equal(authority.SubjectKeyId, leaf.AuthorityKeyId) && leaf.CheckSignatureFrom(authority) == nil {
			return true
		}
	}
	return false
}
