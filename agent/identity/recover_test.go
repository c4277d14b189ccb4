package identity

import (
	"bytes"
	"slices"
	"testing"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// A node that was there all along mostly knows more versions of the chain than the
// site that was recovered: those come page by page, and the end of it says nothing.
func TestANodeLearnsOfARecoveryFromWhoeverAnswers(t *testing.T) {
	for _, test := range []struct {
		name  string
		known func(*Node) []*sitev1.TrustVersion
		epoch uint64
	}{
		{"it knows as much", func(n *Node) []*sitev1.TrustVersion { return n.Trust() }, 2},
		{"it knows more", func(n *Node) []*sitev1.TrustVersion {
			chain := slices.Clone(n.Trust())
			for range 3 {
				next, err := certs.ExtendTrust(chain[len(chain)-1], n.Authority(), certs.TrustChange{NextEra: true})
				if err != nil {
					t.Fatal(err)
				}
				chain = append(chain, next)
			}
			return chain
		}, 2},
		{"it knows of another recovery", func(n *Node) []*sitev1.TrustVersion { return recoveredBy(t, n, 7) }, 2},
		{"it knows of two others", func(n *Node) []*sitev1.TrustVersion {
			chain := recoveredBy(t, n, 7)
			next, err := certs.ExtendTrust(chain[len(chain)-1], n.Authority(), certs.TrustChange{
				Recover: &sitev1.RecoverRecord{SiteEpoch: 3, Id: bytes.Repeat([]byte{8}, 16)},
			})
			if err != nil {
				t.Fatal(err)
			}
			return append(chain, next)
		}, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := begin(t, "reef")
			h := &host{source: n, trust: recoveredBy(t, n, 1)}
			h.serve(t)
			forked := test.known(n)
			if err := n.UpdateTrust(forked); err != nil {
				t.Fatal(err)
			}
			before := n.Bundle()
			dialer := &mtls.Dialer{Net: env.NewSystem().Net, Source: n}
			err := dialer.Learn(t.Context(), h.address)
			if n.Bundle().SiteEpoch() != test.epoch {
				t.Errorf("site epoch %d is believed: %v", n.Bundle().SiteEpoch(), err)
			}
			theirs := bytes.Repeat([]byte{1}, 16)
			if wasRecovered := before.SiteEpoch() > 1; wasRecovered != (n.Forked() != "") || wasRecovered != (err != nil) ||
				wasRecovered != n.IsFork(theirs) || wasRecovered == bytes.Equal(n.Bundle().RecoverID(), theirs) {
				t.Errorf("it says %q, %v, and believes %x", n.Forked(), err, n.Bundle().RecoverID())
			}
		})
	}
}

// recoveredBy the only voter, at the end of the chain that it knows.
func recoveredBy(t *testing.T, n *Node, id byte) []*sitev1.TrustVersion {
	t.Helper()
	chain := n.Trust()
	version, err := certs.ExtendTrust(chain[len(chain)-1], n.Authority(), certs.TrustChange{
		Recover: &sitev1.RecoverRecord{SiteEpoch: 2, Id: bytes.Repeat([]byte{id}, 16)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(chain), version)
}
