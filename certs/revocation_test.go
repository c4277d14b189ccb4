package certs

import (
	"crypto/x509"
	"errors"
	"testing"

	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func next(t testing.TB, last *sitev1.TrustVersion, signer *Authority, change TrustChange) *sitev1.TrustVersion {
	t.Helper()
	version, err := ExtendTrust(last, signer, change)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func revocation(subject string, leaf *x509.Certificate) *sitev1.Revocation {
	return &sitev1.Revocation{Subject: subject, KeyFingerprint: Fingerprint(leaf.PublicKey)}
}

func TestARevokedKeyCountsInNoLaterVersion(t *testing.T) {
	a, b := newAuthority(t, "harbour"), newAuthority(t, "harbour")
	leaf, other := issueNode(t, a, "n2", today), issueNode(t, a, "n2", today)
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	second := next(t, first, a, TrustChange{Revoke: []*sitev1.Revocation{revocation("node/n2", leaf)}})
	third := next(t, second, a, TrustChange{Add: []*x509.Certificate{b.Certificate()}})
	bundle, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first, second, third})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyPeer([]*x509.Certificate{leaf}, bundle, today); !errors.Is(err, ErrRevoked) {
		t.Errorf("the revoked key gave %v", err)
	}
	// The name is free for another key.
	if _, err := VerifyPeer([]*x509.Certificate{other}, bundle, today); err != nil {
		t.Error(err)
	}
}

func TestWhatADroppedCAIssuedCountsForKeysOnRecordAlone(t *testing.T) {
	a, b := newAuthority(t, "harbour"), newAuthority(t, "harbour")
	leaf := issueNode(t, b, "n2", today)
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	second := next(t, first, a, TrustChange{Add: []*x509.Certificate{b.Certificate()}})
	third := next(t, second, a, TrustChange{Drop: []*x509.Certificate{b.Certificate()}})
	bundle, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first, second, third})
	if err != nil || bundle.Has(b.Certificate()) {
		t.Fatal(err, "or the dropped CA counts")
	}
	if _, err := VerifyPeer([]*x509.Certificate{leaf}, bundle, today); !errors.Is(err, ErrUnknownAuthority) {
		t.Errorf("it gave %v", err)
	}
	if peer, err := VerifyFormer([]*x509.Certificate{leaf}, bundle, today); err != nil || peer.Name != "n2" {
		t.Errorf("%v %v", peer, err)
	}
	stranger := issueNode(t, newAuthority(t, "harbour"), "n2", today)
	if _, err := VerifyFormer([]*x509.Certificate{stranger}, bundle, today); err == nil {
		t.Error("a CA that never counted is taken for a former one")
	}
	if _, err := ExtendTrust(third, a, TrustChange{Drop: []*x509.Certificate{a.Certificate()}}); err == nil {
		t.Error("the last CA can be dropped")
	}
}

func TestDamagedRevocationsAreRefused(t *testing.T) {
	a := newAuthority(t, "harbour")
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*sitev1.Revocation{
		"no key": {Subject: "node/n2"}, "no subject": {KeyFingerprint: make([]byte, 32)}, "half a key": {Subject: "node/n2", KeyFingerprint: make([]byte, 16)},
	} {
		version := next(t, first, a, TrustChange{Revoke: []*sitev1.Revocation{r}})
		if _, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first, version}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestChainsKeepWhatTheyRevoke walks random chains: at each version the keys
// that were ever revoked do not count, the CAs are those that were added and
// not dropped, and a version can be left out nowhere.
func TestChainsKeepWhatTheyRevoke(t *testing.T) {
	var pool []*Authority
	for range 5 {
		pool = append(pool, newAuthority(t, "harbour"))
	}
	var leaves []*x509.Certificate
	for range 6 {
		leaves = append(leaves, issueNode(t, pool[0], "n2", today))
	}
	rapid.Check(t, func(r *rapid.T) {
		first, err := FirstTrust("harbour", pool[0])
		if err != nil {
			r.Fatal(err)
		}
		chain, counting, revoked := []*sitev1.TrustVersion{first}, map[int]bool{0: true}, map[int]bool{}
		for range rapid.IntRange(1, 8).Draw(r, "versions") {
			change := TrustChange{}
			signer := rapid.SampledFrom(keys(counting)).Draw(r, "signer")
			switch i := rapid.IntRange(0, 4).Draw(r, "which"); rapid.IntRange(0, 2).Draw(r, "change") {
			case 0:
				change.Add, counting[i] = []*x509.Certificate{pool[i].Certificate()}, true
			case 1:
				if !counting[i] || len(counting) == 1 {
					continue
				}
				change.Drop = []*x509.Certificate{pool[i].Certificate()}
				delete(counting, i)
			default:
				change.Revoke, revoked[i] = []*sitev1.Revocation{revocation("node/n2", leaves[i])}, true
			}
			version, err := ExtendTrust(chain[len(chain)-1], pool[signer], change)
			if err != nil {
				r.Fatal(err)
			}
			chain = append(chain, version)
		}
		bundle, err := VerifyTrust(SiteID(first), chain)
		if err != nil {
			r.Fatal(err)
		}
		for i, authority := range pool {
			if bundle.Has(authority.Certificate()) != counting[i] {
				r.Fatalf("CA %d counts: %t", i, !counting[i])
			}
		}
		for i, leaf := range leaves {
			if (bundle.Revoked(Fingerprint(leaf.PublicKey)) != "") != revoked[i] {
				r.Fatalf("key %d is revoked: %t", i, !revoked[i])
			}
		}
		if len(chain) > 2 {
			at := rapid.IntRange(1, len(chain)-2).Draw(r, "left out")
			cut := append(append([]*sitev1.TrustVersion{}, chain[:at]...), chain[at+1:]...)
			if _, err := VerifyTrust(SiteID(first), cut); err == nil {
				r.Fatal("a chain without one of its versions was accepted")
			}
		}
	})
}

func keys(of map[int]bool) []int {
	var all []int
	for i := range 5 {
		if of[i] {
			all = append(all, i)
		}
	}
	return all
}

func TestWhatAWorkloadGotOnAnEvictedNodeCountsNoMore(t *testing.T) {
	a := newAuthority(t, "harbour")
	evicted, stays := issueNode(t, a, "n2", today), issueNode(t, a, "n3", today)
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	second := next(t, first, a, TrustChange{Revoke: []*sitev1.Revocation{revocation("node/n2", evicted)}})
	before, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first})
	if err != nil {
		t.Fatal(err)
	}
	after, err := before.Extend([]*sitev1.TrustVersion{second})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		host   []byte
		bundle *Bundle
		counts bool
	}{
		{"before the eviction", Fingerprint(evicted.PublicKey), before, true},
		{"after it", Fingerprint(evicted.PublicKey), after, false},
		{"that of another node", Fingerprint(stays.PublicKey), after, true},
		{"that names no node", nil, after, true},
	} {
		der, err := a.IssueWorkload("default", "web", test.host, newKey(t).Public(), today, WorkloadLifetime)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		_, err = VerifyPeer([]*x509.Certificate{leaf}, test.bundle, today)
		if (err == nil) != test.counts || err != nil && !errors.Is(err, ErrRevoked) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
