package certs

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// longChain needs at least so many pages.
func longChain(t testing.TB, pages int) []*sitev1.TrustVersion {
	t.Helper()
	a, b, c := newAuthority(t, "harbour"), newAuthority(t, "harbour"), newAuthority(t, "harbour")
	chain := chainOf(t, a, b, c)
	for size := 0; size <= pages*maxTrustPage; {
		last := chain[len(chain)-1]
		// Many keys that are revoked make a version large: 16 KiB.
		var gone []*sitev1.Revocation
		for n := range 256 {
			gone = append(gone, &sitev1.Revocation{Subject: "operator/somebody", KeyFingerprint: append(make([]byte, 31), byte(n))})
		}
		chain = append(chain, next(t, last, c, TrustChange{Revoke: gone}))
		size += proto.Size(chain[len(chain)-1])
	}
	return chain
}

func TestAChainOfAnyLengthIsWalkedInBoundedMessages(t *testing.T) {
	chain := longChain(t, 9) // more than one message may hold
	siteID := SiteID(chain[0])
	asked := 0
	ask := func(after uint64) ([]*sitev1.TrustVersion, bool, error) {
		asked++
		page, more := TrustPage(chain, after)
		if size := proto.Size(&sitev1.TrustResponse{Versions: page}); size > maxTrustPage+64<<10 {
			t.Fatalf("a page of %d bytes", size)
		}
		return page, more, nil
	}
	walked, bundle, err := WalkTrust(siteID, nil, ask)
	if err != nil || len(walked) != len(chain) || bundle.Version() != uint64(len(chain)) || asked < 9 {
		t.Fatalf("%d of %d versions in %d pages: %v", len(walked), len(chain), asked, err)
	}
	half, err := VerifyTrust(siteID, chain[:len(chain)/2])
	if err != nil {
		t.Fatal(err)
	}
	walked, bundle, err = WalkTrust(siteID, half, ask)
	if err != nil || len(walked) != len(chain)-len(chain)/2 || bundle.Version() != uint64(len(chain)) {
		t.Fatalf("from the half on %d versions: %v", len(walked), err)
	}
	asked = 0
	if walked, same, err := WalkTrust(siteID, bundle, ask); err != nil || len(walked) != 0 || same != bundle || asked != 1 {
		t.Errorf("from the end on %d versions in %d pages: %v", len(walked), asked, err)
	}
}

func TestWhoAnswersCannotLeadAWalkAstray(t *testing.T) {
	chain, other := longChain(t, 1), longChain(t, 1)
	known, err := VerifyTrust(SiteID(chain[0]), chain[:2])
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the line broke")
	for name, test := range map[string]struct {
		known *Bundle
		ask   func(after uint64) ([]*sitev1.TrustVersion, bool, error)
		pages int
	}{
		"there is more, which never comes":      {known, func(uint64) ([]*sitev1.TrustVersion, bool, error) { return nil, true, nil }, 1},
		"nothing at all":                        {nil, func(uint64) ([]*sitev1.TrustVersion, bool, error) { return nil, false, nil }, 1},
		"the same page again and again":         {known, func(uint64) ([]*sitev1.TrustVersion, bool, error) { return chain[2:3], true, nil }, 2},
		"another site's from the first page on": {nil, func(uint64) ([]*sitev1.TrustVersion, bool, error) { return other[:1], true, nil }, 1},
		"another site's from the second on": {nil, func(after uint64) ([]*sitev1.TrustVersion, bool, error) {
			if after == 0 {
				return chain[:1], true, nil
			}
			return other[after : after+1], true, nil
		}, 2},
		"the line breaks": {known, func(uint64) ([]*sitev1.TrustVersion, bool, error) { return nil, false, broken }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			pages := 0
			walked, bundle, err := WalkTrust(SiteID(chain[0]), test.known, func(after uint64) ([]*sitev1.TrustVersion, bool, error) {
				if pages++; pages > test.pages {
					t.Fatal("it asks on")
				}
				return test.ask(after)
			})
			if err == nil || walked != nil || bundle != nil {
				t.Errorf("%d versions: %v", len(walked), err)
			}
		})
	}
}

func TestAPageBeginsWhereSomebodyKnowsTheChain(t *testing.T) {
	chain := longChain(t, 0)
	for after, want := range map[uint64]int{0: len(chain), 1: len(chain) - 1, uint64(len(chain)): 0, 1 << 63: 0} {
		if page, more := TrustPage(chain, after); len(page) != want || more {
			t.Errorf("after %d: %d versions, more %v, want %d", after, len(page), more, want)
		}
	}
}
