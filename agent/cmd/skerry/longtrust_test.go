package main

import (
	"fmt"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// trust is the site's chain, as anybody is told it.
func (s *testSite) trust() []*sitev1.TrustVersion {
	s.t.Helper()
	joiner := mtls.NewJoiner(env.NewSystem().Net, s.address)
	defer joiner.Client.CloseIdleConnections()
	chain, _, err := joiner.Trust(s.t.Context(), s.init.GetSiteId(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return chain
}

// lengthen the chain of trust until it has so many bytes: more than one message
// may have. Many keys that are revoked make each version a large one.
func (s *testSite) lengthen(size int) {
	s.t.Helper()
	var gone []*sitev1.Revocation
	for n := range 2000 {
		key := make([]byte, 32)
		key[0], key[1] = byte(n), byte(n>>8)
		gone = append(gone, &sitev1.Revocation{Subject: "operator/somebody", KeyFingerprint: key})
	}
	chain := s.trust()
	for has := 0; has < size; {
		next, err := certs.ExtendTrust(chain[len(chain)-1], s.node.Authority(), certs.TrustChange{Revoke: gone})
		if err != nil {
			s.t.Fatal(err)
		}
		outcome, err := s.voter.Propose(s.t.Context(), &sitev1.Entry{RequestId: fmt.Sprint("lengthen-", len(chain)), Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}}})
		if err != nil {
			s.t.Fatal(err)
		}
		if outcome.GetErrorKind() != "" {
			chain = s.trust() // the voter has extended it itself
			continue
		}
		chain = append(chain, next)
		has += proto.Size(next)
	}
}

func TestAChainOfTrustThatFitsIntoNoMessageReachesEverybody(t *testing.T) {
	if testing.Short() {
		t.Skip("it signs and reads many megabytes, which is slow under the race detector")
	}
	site := newTestSite(t, "reef")
	away := site.newNode("n2")
	home := t.TempDir()
	if _, err := site.join(site.token("operator", "mara"), home); err != nil {
		t.Fatal(err)
	}
	site.lengthen(10 << 20)
	want := uint64(len(site.trust()))
	if err := site.node.UpdateTrust(site.trust()); err != nil {
		t.Fatal(err)
	}
	if known := away.Bundle().Version(); known > 10 || want < known+20 {
		t.Fatalf("version %d of %d is known before", known, want)
	}
	if renewed, err := identity.Renew(t.Context(), env.NewSystem(), away, []string{site.address}, true); err != nil || !renewed {
		t.Fatalf("a node that was away: %v, %v", renewed, err)
	}
	if got := away.Bundle().Version(); got < want {
		t.Errorf("the node that was away knows version %d of %d", got, want)
	}
	if got := site.newNode("n3").Bundle().Version(); got < want {
		t.Errorf("a node that joins knows version %d of %d", got, want)
	}
	mara, err := identity.LoadOperator(env.NewSystem(), home, "reef")
	if err != nil {
		t.Fatal(err)
	}
	dialer := &mtls.Dialer{Net: env.NewSystem().Net, Source: mara}
	if err := dialer.Learn(t.Context(), site.address); err != nil || mara.Bundle().Version() < want {
		t.Errorf("an operator that was away knows version %d of %d: %v", mara.Bundle().Version(), want, err)
	}
	root := t.TempDir()
	if dir, err := site.createLocally(site.node, root, "kim", "admin"); err != nil || dir != filepath.Join(root, "reef") {
		t.Errorf("root on a voter: %q, %v", dir, err)
	}
}
