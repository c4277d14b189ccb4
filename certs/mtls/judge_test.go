package mtls

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// late believes a bundle, at a time of its own.
type late struct {
	bundle *certs.Bundle
	now    time.Time
}

func (late) Certificate() *tls.Certificate { return nil }
func (l late) Bundle() *certs.Bundle       { return l.bundle }
func (l late) Now() time.Time              { return l.now }

func TestExpiryKeepsNobodyFromTheLogOrFromRenewal(t *testing.T) {
	today := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	leafOf := func(authority *certs.Authority) []*x509.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := authority.IssueNode(certs.NodeRequest{Name: "n2", PublicKey: key.Public()}, today)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return []*x509.Certificate{leaf}
	}
	authority, err := certs.NewAuthority(rand.Reader, "reef", "n1", today)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := certs.NewAuthority(rand.Reader, "reef", "n1", today)
	if err != nil {
		t.Fatal(err)
	}
	first, err := certs.FirstTrust("reef", authority)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := certs.VerifyTrust(certs.SiteID(first), []*sitev1.TrustVersion{first})
	if err != nil {
		t.Fatal(err)
	}
	// By now the CA has expired too.
	source, own, other := late{bundle, today.AddDate(60, 0, 0)}, leafOf(authority), leafOf(stranger)
	for _, c := range []struct {
		name     string
		protocol string
		server   bool
		chain    []*x509.Certificate
		want     error // nil: it is taken
	}{
		{"a voter, on the log's protocol", Raft, true, own, nil},
		{"a voter that is dialled", Raft, false, own, nil},
		{"who renews", Renew, true, own, nil},
		{"who renews, and whose CA is gone", Renew, true, other, nil},
		{"who is asked to renew", Renew, false, own, nil},
		{"who is asked to renew, and is of no CA", Renew, false, other, certs.ErrUnknownAuthority},
		{"a voter of no CA", Raft, true, other, certs.ErrUnknownAuthority},
		{"a node, on the orders' protocol", Sync, true, own, certs.ErrExpired},
		{"an operator's protocol", API2, true, own, certs.ErrExpired},
		{"a node that is dialled", Peer, false, own, certs.ErrExpired},
	} {
		_, err := judgeOf(c.protocol, c.server)(source, c.chain)
		if (c.want == nil) != (err == nil) || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
