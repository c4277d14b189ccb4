package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// maxRevocations bounds what one version of the chain may revoke.
const maxRevocations = 10_000

// ErrRevoked is within the error about a key that the site has revoked.
var ErrRevoked = errors.New("was revoked")

// Revoked tells whose key a fingerprint is, by the path of the SPIFFE ID, when
// the chain of trust has revoked it; empty when it has not. A revoked key never
// counts again.
func (b *Bundle) Revoked(fingerprint []byte) string { return b.revoked[string(fingerprint)] }

// CheckKey refuses a peer whose key was revoked, and a workload with what was
// issued for it on a node that was evicted.
func (b *Bundle) CheckKey(peer Peer) error {
	if host := b.Revoked(peer.HostFingerprint); host != "" {
		return problem.New(problem.Forbidden, peer.ID.String(), "its SVID was issued on a node that was evicted, %s, and %w",
			strings.TrimPrefix(host, "node/"), ErrRevoked).WithHint("on the nodes of the site the workload gets another one by itself")
	}
	subject := b.Revoked(peer.KeyFingerprint)
	if subject == "" {
		return nil
	}
	if name, ok := strings.CutPrefix(subject, "node/"); ok {
		return problem.New(problem.Forbidden, "Node/"+name, "it was evicted from the site: its key %w", ErrRevoked).
			WithHint("to use the machine again: stop the agent, move its state directory away, then join with a new token")
	}
	name := strings.TrimPrefix(subject, "operator/")
	return problem.New(problem.Forbidden, "Operator/"+name, "its key %w", ErrRevoked).
		WithHint("ask an operator of the site for a new token: skerry token create --role operator --name %s --grant ROLE", name)
}

// withRevoked adds what one version revokes to what was revoked before.
func withRevoked(before *Bundle, revoked []*sitev1.Revocation) (map[string]string, error) {
	var all map[string]string
	if before != nil {
		all = before.revoked
	}
	if len(revoked) == 0 {
		return all, nil
	}
	if len(revoked) > maxRevocations {
		return nil, fmt.Errorf("it revokes %d keys, at most %d are possible", len(revoked), maxRevocations)
	}
	if all = maps.Clone(all); all == nil {
		all = map[string]string{}
	}
	for _, r := range revoked {
		if len(r.GetKeyFingerprint()) != sha256.Size || r.GetSubject() == "" {
			return nil, fmt.Errorf("%.80q with key %.80s cannot be revoked", r.GetSubject(), hex.EncodeToString(r.GetKeyFingerprint()))
		}
		all[string(r.GetKeyFingerprint())] = r.GetSubject()
	}
	return all, nil
}

// maxFormer CAs are remembered, the newest.
const maxFormer = 256

// formerOf are the CAs of earlier versions that do not count any more.
func formerOf(before, next *Bundle) []*x509.Certificate {
	if before == nil {
		return nil
	}
	var former []*x509.Certificate
	for _, cert := range append(before.former[:len(before.former):len(before.former)], before.authorities...) {
		if !next.Has(cert) {
			former = append(former, cert)
		}
	}
	return former[max(0, len(former)-maxFormer):]
}
