package certs

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func TestAClaimLooksAtTheKeyAndAtRevocationsAlone(t *testing.T) {
	a, gone, other := newAuthority(t, "harbour"), newAuthority(t, "harbour"), newAuthority(t, "reef")
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	evicted := issueNode(t, a, "n3", today)
	second := next(t, first, a, TrustChange{Revoke: []*sitev1.Revocation{revocation("node/n3", evicted)}})
	bundle, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first, second})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(by *Authority, as func(*Authority) ([]byte, error)) *x509.Certificate {
		der, err := as(by)
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, der)
	}
	for name, c := range map[string]struct {
		leaf *x509.Certificate
		says string // empty: it is taken
	}{
		"a node's":                  {issueNode(t, a, "n1", today), ""},
		"one that expired long ago": {issueNode(t, a, "n1", today.AddDate(5, 0, 0)), ""},
		"one of a CA that is gone":  {issueNode(t, gone, "n1", today), ""},
		"an operator's": {issue(a, func(a *Authority) ([]byte, error) {
			return a.IssueOperator("mara", newKey(t).Public(), today)
		}), ""},
		"a workload's": {issue(a, func(a *Authority) ([]byte, error) {
			return a.IssueWorkload("default", "web", nil, newKey(t).Public(), today, time.Hour)
		}), "only nodes and operators"},
		"one of another site":          {issueNode(t, other, "n1", today), "of site reef"},
		"a CA's":                       {a.Certificate(), "not an X.509-SVID"},
		"one of a key that is revoked": {evicted, "evicted"},
	} {
		peer, err := Claim([]*x509.Certificate{c.leaf}, bundle)
		if c.says == "" && (err != nil || string(peer.KeyFingerprint) != string(Fingerprint(c.leaf.PublicKey))) {
			t.Errorf("%s: %v", name, err)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := Claim(nil, bundle); err == nil {
		t.Error("no certificate at all is taken")
	}
}

func TestRenewalIsDueAroundTheHalfOfALife(t *testing.T) {
	authority := newAuthority(t, "harbour")
	key := newKey(t)
	seen, issued := map[time.Time]bool{}, 0
	rapid.Check(t, func(r *rapid.T) {
		life := time.Duration(rapid.Int64Range(int64(time.Hour), int64(800*24*time.Hour)).Draw(r, "life"))
		der, err := authority.IssueNode(NodeRequest{Name: "n1", PublicKey: key.Public(), Lifetime: life}, today)
		if err != nil {
			r.Fatal(err)
		}
		leaf := parse(t, der)
		part := float64(RenewAt(leaf).Sub(today)) / float64(life)
		if part < 0.44 || part > 0.56 {
			r.Fatalf("of %s it is renewed after %.2f", life, part)
		}
		if Due(leaf, today) || !Due(leaf, leaf.NotAfter) || !RenewAt(leaf).Equal(RenewAt(leaf)) {
			r.Fatal("it is due at once, or never, or now and then")
		}
		seen[RenewAt(leaf)] = true
		issued++
	})
	if 2*len(seen) < issued {
		t.Errorf("of %d SVIDs there are %d times of renewal", issued, len(seen))
	}
}

func TestACAThatHasExpiredIssuesNothing(t *testing.T) {
	authority := newAuthority(t, "harbour")
	_, err := authority.IssueNode(NodeRequest{Name: "n1", PublicKey: newKey(t).Public()}, authority.Certificate().NotAfter.Add(time.Second))
	if err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("it gave %v", err)
	}
}

func TestALeafThatBeginsLaterIsDueUnlessItsCADoesToo(t *testing.T) {
	authority := newAuthority(t, "harbour")
	bundle := bundleOf(t, authority, "harbour")
	later := issueNode(t, authority, "n1", today.AddDate(24, 0, 0))
	first := issueNode(t, authority, "n1", today)
	for name, test := range map[string]struct {
		leaf *x509.Certificate
		now  time.Time
		want bool
	}{
		"time went on":                       {later, today.AddDate(24, 0, 1), false},
		"time was set back":                  {later, today, true},
		"it was set back by an hour":         {later, today.AddDate(24, 0, 0).Add(-time.Hour), false},
		"to before the CA, by which another": {later, today.AddDate(-1, 0, 0), true},
		"the CA begins no earlier":           {first, today.AddDate(-1, 0, 0), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := bundle.Due(test.leaf, test.now); got != test.want {
				t.Errorf("due: %t", got)
			}
		})
	}
}
