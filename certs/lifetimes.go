package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"time"
)

// Lifetimes of what a site issues, unless its settings say otherwise.
const (
	// NodeLifetime lets a node that is cut off speak with its neighbours for a
	// season.
	NodeLifetime = 90 * 24 * time.Hour
	// OperatorLifetime is that of people's credentials.
	OperatorLifetime = 90 * 24 * time.Hour
	// WorkloadLifetime of an SVID of a workload: so long at most, and half of it
	// at least, does a workload stay authenticated on a node that is alone
	// (SAFETY, rule 20).
	WorkloadLifetime = 14 * 24 * time.Hour
	// AuthorityLifetime of a CA. After half of it the coordinator has all voters
	// make new ones.
	AuthorityLifetime = 30 * 365 * 24 * time.Hour
)

// JwtLifetime of a JWT-SVID: whoever has one is believed, so it is short. It is
// had anew by a call, while a voter is in reach.
const JwtLifetime = 5 * time.Minute

// backdate lets certificates count on machines whose clock is behind.
const backdate = 24 * time.Hour

// jitter of renewals, as a part of the whole life: what was issued together is
// not renewed together.
const jitter = 0.1

// Issued is when a certificate was issued.
func Issued(cert *x509.Certificate) time.Time { return cert.NotBefore.Add(backdate) }

// RenewAt is when a certificate is to be renewed: after half of its life, a
// little earlier or later by chance, which is drawn from the certificate itself.
func RenewAt(cert *x509.Certificate) time.Time {
	life := cert.NotAfter.Sub(Issued(cert))
	sum := sha256.Sum256(cert.Raw)
	chance := float64(binary.BigEndian.Uint32(sum[:4]))/(1<<32) - 0.5
	return Issued(cert).Add(life/2 + time.Duration(float64(life)*jitter*chance))
}

// Due tells whether a certificate has run for half of its life.
func Due(cert *x509.Certificate, now time.Time) bool { return !now.Before(RenewAt(cert)) }

// Early tells whether a leaf begins only after now though it need not: time was
// set back since it was issued. A leaf that begins with its CA, or a moment later,
// does not count: the same CA would issue it almost like that again.
func Early(leaf, authority *x509.Certificate, now time.Time) bool {
	return leaf.NotBefore.After(now) && authority.NotBefore.Add(withItsCA).Before(leaf.NotBefore)
}

// withItsCA is what makes no difference.
const withItsCA = time.Minute

// Due tells whether a leaf is to be renewed: it has run for half of its life, or
// is early. now must be known.
func (b *Bundle) Due(leaf *x509.Certificate, now time.Time) bool {
	if Due(leaf, now) {
		return true
	}
	return leaf.NotBefore.After(now) && slices.ContainsFunc(b.authorities, func(authority *x509.Certificate) bool {
		return Early(leaf, authority, now) && leaf.CheckSignatureFrom(authority) == nil
	})
}
