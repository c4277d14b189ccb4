package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var today = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newAuthority(t testing.TB, site string) *Authority {
	t.Helper()
	authority, err := NewAuthority(rand.Reader, site, "n1", today)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issueNode(t testing.TB, authority *Authority, name string, now time.Time) *x509.Certificate {
	t.Helper()
	der, err := authority.IssueNode(NodeRequest{
		Name: name, PublicKey: newKey(t).Public(), Addresses: []string{"10.0.0.7:7600", "ship.example:7600"},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, der)
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestNodeSVIDFollowsTheSpecificationAndSuitsCurl(t *testing.T) {
	leaf := issueNode(t, newAuthority(t, "harbour"), "n1", today)
	if got := leaf.URIs[0].String(); len(leaf.URIs) != 1 || got != "spiffe://harbour/node/n1" {
		t.Errorf("URI SANs are %v", leaf.URIs)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("CA %v, key usage %b", leaf.IsCA, leaf.KeyUsage)
	}
	if diff := cmp.Diff([]string{"n1", "localhost", "ship.example"}, leaf.DNSNames); diff != "" {
		t.Errorf("DNS SANs (-want +got):\n%s", diff)
	}
	for _, ip := range []string{"127.0.0.1", "::1", "10.0.0.7"} {
		if err := leaf.VerifyHostname(ip); err != nil {
			t.Error(err)
		}
	}
	if leaf.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		t.Errorf("signed with %s", leaf.SignatureAlgorithm)
	}
}

func TestAddressesThatCannotBeSANsAreLeftOut(t *testing.T) {
	der, err := newAuthority(t, "harbour").IssueNode(NodeRequest{
		Name: "n1", PublicKey: newKey(t).Public(),
		Addresses: []string{"", ":7600", "fe80::1%eth0", "schön.example:1", "a b", strings.Repeat("x", 300), "[fd00::1]:7600"},
	}, today)
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, der)
	if diff := cmp.Diff([]string{"n1", "localhost"}, leaf.DNSNames); diff != "" {
		t.Errorf("DNS SANs (-want +got):\n%s", diff)
	}
	if !leaf.IPAddresses[2].Equal(net.ParseIP("fd00::1")) || len(leaf.IPAddresses) != 3 {
		t.Errorf("IP SANs are %v", leaf.IPAddresses)
	}
}

func TestLifetimes(t *testing.T) {
	authority := newAuthority(t, "harbour")
	born := authority.Certificate()
	for name, test := range map[string]struct {
		now         time.Time
		begins, end time.Time
	}{
		"a leaf lives for a season": {
			now: today, begins: today.Add(-backdate), end: today.Add(NodeLifetime)},
		"a leaf never outlives its CA": {
			now: born.NotAfter.Add(-time.Hour), begins: born.NotAfter.Add(-time.Hour - backdate), end: born.NotAfter},
		"a clock in 1970 issues from the birth of the CA on": {
			now: time.Unix(0, 0), begins: born.NotBefore, end: today.Add(NodeLifetime)},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := issueNode(t, authority, "n1", test.now)
			if !leaf.NotBefore.Equal(test.begins) || !leaf.NotAfter.Equal(test.end) {
				t.Errorf("counts from %s to %s, want %s to %s", leaf.NotBefore, leaf.NotAfter, test.begins, test.end)
			}
		})
	}
	if years := born.NotAfter.Sub(today).Hours() / 24 / 365; years != 30 {
		t.Errorf("the CA lives %v years", years)
	}
}

func TestNamesThatCannotBeIssued(t *testing.T) {
	authority := newAuthority(t, "harbour")
	for _, name := range []string{"", "..", "a/b", "a b", "ä"} {
		if _, err := authority.IssueOperator(name, newKey(t).Public(), today); err == nil {
			t.Errorf("operator %q got an SVID", name)
		}
	}
	for _, site := range []string{"", ".", "..", "a..b", ".a", "a.", "-a", "A", "a/b", "spiffe://a/../b", strings.Repeat("a", 64)} {
		if _, err := NewAuthority(rand.Reader, site, "n1", today); err == nil {
			t.Errorf("there is a CA for site %q", site)
		}
	}
}

func TestLoadAuthorityRefusesWhatDoesNotBelongTogether(t *testing.T) {
	authority := newAuthority(t, "harbour")
	leaf := issueNode(t, authority, "n1", today)
	for name, test := range map[string]struct {
		key  *ecdsa.PrivateKey
		der  []byte
		want string
	}{
		"another key":    {newKey(t), authority.Certificate().Raw, "belongs to another key"},
		"a leaf":         {authority.Key(), leaf.Raw, "is not a CA"},
		"no certificate": {authority.Key(), []byte("x"), "does not parse"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := LoadAuthority(rand.Reader, test.key, test.der); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q in it", err, test.want)
			}
		})
	}
	if _, err := LoadAuthority(rand.Reader, authority.Key(), authority.Certificate().Raw); err != nil {
		t.Error(err)
	}
}

func TestJoinRequests(t *testing.T) {
	key := newKey(t)
	good, err := NewJoinRequest(rand.Reader, key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := CheckJoinRequest(good)
	if err != nil || !key.PublicKey.Equal(public) {
		t.Errorf("key %v, error %v", public, err)
	}
	forged := append([]byte(nil), good...)
	forged[len(forged)-1] ^= 1
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	wrongCurve, err := requestWith(p384)
	if err != nil {
		t.Fatal(err)
	}
	for name, der := range map[string][]byte{
		"a forged signature": forged, "a truncated request": good[:len(good)/2], "nothing": nil,
		"another curve": wrongCurve, "something huge": make([]byte, maxRequest+1), "bytes after it": append(good, 0),
	} {
		if _, err := CheckJoinRequest(der); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// requestWith makes a request for a key that ours never is.
func requestWith(key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}
