package certs

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

func bundleOf(t testing.TB, authority *Authority, site string) *Bundle {
	t.Helper()
	first, err := FirstTrust(site, authority)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first})
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// forge signs whatever it is told to with the CA's key.
func forge(t testing.TB, authority *Authority, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour),
		URIs: uris(t, "spiffe://harbour/node/n1"), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, authority.cert, newKey(t).Public(), authority.key)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, der)
}

func uris(t testing.TB, texts ...string) []*url.URL {
	t.Helper()
	var out []*url.URL
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, u)
	}
	return out
}

func TestVerifyPeerTellsWhoItIs(t *testing.T) {
	authority := newAuthority(t, "harbour")
	leaf := issueNode(t, authority, "n1", today)
	peer, err := VerifyPeer([]*x509.Certificate{leaf}, bundleOf(t, authority, "harbour"), today)
	if err != nil {
		t.Fatal(err)
	}
	if peer.ID.String() != "spiffe://harbour/node/n1" || peer.Role != RoleNode || peer.Name != "n1" {
		t.Errorf("peer is %+v", peer)
	}
	if !bytes.Equal(peer.KeyFingerprint, Fingerprint(leaf.PublicKey)) {
		t.Error("the fingerprint is not that of its key")
	}
}

func TestVerifyPeerRefuses(t *testing.T) {
	authority, other := newAuthority(t, "harbour"), newAuthority(t, "harbour")
	foreign := newAuthority(t, "mine")
	bundle := bundleOf(t, authority, "harbour")
	own := func(change func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{forge(t, authority, change)}
	}
	// A leaf that was made to sign another leaf.
	leafKey := newKey(t)
	leafDER, err := authority.IssueNode(NodeRequest{Name: "n1", PublicKey: leafKey.Public()}, today)
	if err != nil {
		t.Fatal(err)
	}
	upstart := &Authority{key: leafKey, cert: parse(t, leafDER), rand: rand.Reader}
	for name, test := range map[string]struct {
		chain   []*x509.Certificate
		want    string
		unknown bool
	}{
		"no certificate":                  {nil, "showed no certificate", false},
		"a CA of another site":            {[]*x509.Certificate{issueNode(t, foreign, "n1", today)}, "it is of site mine, not of harbour", false},
		"a CA of a site of the same name": {[]*x509.Certificate{issueNode(t, other, "n1", today)}, "was not issued by a CA of the site harbour", true},
		"an expired one":                  {own(func(c *x509.Certificate) { c.NotAfter = today.Add(-time.Minute) }), "expired on 2026-03-01", false},
		"two URI SANs": {own(func(c *x509.Certificate) {
			c.URIs = uris(t, "spiffe://harbour/node/n1", "spiffe://harbour/operator/root")
		}), "more than one URI SAN", false},
		"no URI SAN":                 {own(func(c *x509.Certificate) { c.URIs = nil }), "no URI SAN", false},
		"a URI that is no SPIFFE ID": {own(func(c *x509.Certificate) { c.URIs = uris(t, "https://harbour/node/n1") }), "scheme", false},
		"the CA bit":                 {own(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "CA flag", false},
		"the right to sign certificates": {own(func(c *x509.Certificate) {
			c.KeyUsage |= x509.KeyUsageCertSign
		}), "KeyCertSign", false},
		"the CA itself":             {[]*x509.Certificate{authority.cert}, "CA flag", false},
		"another trust domain":      {own(func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://mine/node/n1") }), "it is of site mine", false},
		"a kind that nobody issues": {own(func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://harbour/root/n1") }), "of no kind", false},
		"a path of one segment":     {own(func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://harbour/node") }), "of no kind", false},
		"a node with a path":        {own(func(c *x509.Certificate) { c.URIs = uris(t, "spiffe://harbour/node/n1/n2") }), "of no kind", false},
		"a leaf that a leaf signed": {[]*x509.Certificate{forge(t, upstart, func(*x509.Certificate) {}), upstart.cert}, "was not issued", true},
	} {
		t.Run(name, func(t *testing.T) {
			peer, err := VerifyPeer(test.chain, bundle, today)
			if err == nil {
				t.Fatalf("it was accepted as %s", peer.ID)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q in it", err, test.want)
			}
			if problem.KindOf(err) != problem.Unauthenticated {
				t.Errorf("the kind is %s", problem.KindOf(err))
			}
			if errors.Is(err, ErrUnknownAuthority) != test.unknown {
				t.Errorf("unknown authority is %v", !test.unknown)
			}
		})
	}
}

func TestVerifyPeerGoesByTheTimeItIsGiven(t *testing.T) {
	authority := newAuthority(t, "harbour")
	bundle := bundleOf(t, authority, "harbour")
	leaf := issueNode(t, authority, "n1", today.AddDate(1, 0, 0))
	var accepted []bool
	for _, now := range []time.Time{
		{}, time.Unix(0, 0), today, leaf.NotBefore, leaf.NotAfter, leaf.NotAfter.Add(time.Second),
	} {
		_, err := VerifyPeer([]*x509.Certificate{leaf}, bundle, now)
		accepted = append(accepted, err == nil)
	}
	if diff := cmp.Diff([]bool{true, true, true, true, true, false}, accepted); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
}
