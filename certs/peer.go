package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
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
	// HostFingerprint is, of a workload, that of the node that it was issued to.
	HostFingerprint []byte
}

// ErrUnknownAuthority is within the error about a certificate that no CA of the
// bundle issued. A newer version of the chain of trust may hold its CA.
var ErrUnknownAuthority = errors.New("was not issued by a CA of the site")

// ErrExpired is within the error about a certificate whose time is over.
var ErrExpired = errors.New("expired")

// VerifyPeer checks a certificate chain, leaf first, against a bundle at the
// given time: X.509-SVID validation (one URI SAN, no CA leaf), the site's trust
// domain, and a path of ours.
//
// A certificate that begins later than now is judged at its beginning: it was
// signed, so it is the clock that is behind, and a node whose clock fell back to
// 1970 must be able to come back. Nobody's idea of the time moves by it.
func VerifyPeer(chain []*x509.Certificate, bundle *Bundle, now time.Time) (Peer, error) {
	if len(chain) == 0 {
		return Peer{}, problem.New(problem.Unauthenticated, "peer", "it showed no certificate")
	}
	leaf := chain[0]
	at := now
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	}
	id, _, err := x509svid.Verify(chain, bundle, x509svid.WithTime(at))
	if err != nil {
		return Peer{}, explainInvalid(leaf, bundle, now, err)
	}
	peer, err := peerOf(id)
	if err != nil {
		return Peer{}, err
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	peer.KeyFingerprint = sum[:]
	if peer.Role == RoleWorkload {
		// Whatever else there is was not issued for a node that could be revoked.
		peer.HostFingerprint, _ = hex.DecodeString(leaf.Subject.SerialNumber)
	}
	return peer, bundle.CheckKey(peer)
}

// VerifyFormer is VerifyPeer for a certificate whose CA has left the chain of
// trust. It says who the peer claims to be, and that the claim was true once:
// it counts only for the very key that the site has on record for that ID.
func VerifyFormer(chain []*x509.Certificate, bundle *Bundle, now time.Time) (Peer, error) {
	former := *bundle
	former.authorities = bundle.former
	return VerifyPeer(chain, &former, now)
}

func peerOf(id spiffeid.ID) (Peer, error) {
	role, name, found := strings.Cut(strings.TrimPrefix(id.Path(), "/"), "/")
	switch Role(role) {
	case RoleNode, RoleOperator, RoleWorkload:
		nested := strings.Contains(name, "/")
		if found && nested == (Role(role) == RoleWorkload) {
			return Peer{ID: id, Role: Role(role), Name: name}, nil
		}
	}
	return Peer{}, problem.New(problem.Unauthenticated, id.String(), "the SPIFFE ID is of no kind that this site issues")
}

// explainInvalid turns a failed verification into something to act upon.
func explainInvalid(leaf *x509.Certificate, bundle *Bundle, now time.Time, err error) error {
	subject, site := leaf.Subject.CommonName, bundle.Site()
	if len(leaf.URIs) == 1 {
		subject, site = leaf.URIs[0].String(), leaf.URIs[0].Host
	}
	var unknown x509.UnknownAuthorityError
	switch {
	case site != bundle.Site():
		return problem.New(problem.Unauthenticated, subject, "it is of site %s, not of %s", site, bundle.Site()).
			WithHint("is the address that of another site?")
	case errors.As(err, &unknown):
		return problem.New(problem.Unauthenticated, subject, "its certificate %w %s", ErrUnknownAuthority, bundle.Site()).
			WithHint("it may belong to a site of the same name that was set up anew")
	case now.After(leaf.NotAfter):
		return problem.New(problem.Unauthenticated, subject, "its certificate %w on %s, site time is %s now", ErrExpired,
			leaf.NotAfter.Format(time.DateOnly), now.Format(time.DateOnly)).
			WithHint("its owner renews it by itself as soon as it reaches a voter; skerry site time shows whether site time is right")
	}
	return problem.New(problem.Unauthenticated, subject, "its certificate is not a valid X.509-SVID: %w", err)
}
