package coordinator

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"testing"
	"time"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// A backup is made of a state that was taken a moment ago. What the chain of trust
// got since then is not in it, and a CA that is not could begin nothing anew.
func TestABackupHoldsNoCAThatItsChainOfTrustDoesNotKnow(t *testing.T) {
	authority := func() *certs.Authority {
		a, err := certs.NewAuthority(env.NewSystem().Rand, "harbour", "n1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	first, second := authority(), authority()
	trust, err := certs.FirstTrust("harbour", first)
	if err != nil {
		t.Fatal(err)
	}
	v := openVoter(t, func(c *Config) { c.Authority = func() *certs.Authority { return second } })
	t.Cleanup(func() { _ = v.log.Close() })
	key := &sitev1.AuditKey{Node: "n1", Key: v.AuditKey.Public().(ed25519.PublicKey)}
	chain := []*sitev1.TrustVersion{trust}
	entries := []*sitev1.Entry{{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "harbour", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: bytes.Repeat([]byte{7}, 32),
		Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: bytes.Repeat([]byte{1}, 32)},
		Node:     &skerryv1.Node{Name: "n1", KeyFingerprint: bytes.Repeat([]byte{2}, 32), Authority: first.Certificate().Raw},
	}}}}
	for _, change := range []certs.TrustChange{
		{AuditKeys: []*sitev1.AuditKey{key}},
		{Add: []*x509.Certificate{second.Certificate()}, AuditKeys: []*sitev1.AuditKey{key}},
	} {
		next, err := certs.ExtendTrust(chain[len(chain)-1], first, change)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, next)
		entries = append(entries, &sitev1.Entry{Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}}})
	}
	for _, entry := range entries {
		if outcome := v.store.Apply(v.store.View().Index()+1, entry); outcome.GetErrorKind() != "" {
			t.Fatal(outcome)
		}
	}
	if _, err := v.backups.content(nil, chain[:2]); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("of the state before it counted: %v", err)
	}
	if content, err := v.backups.content(nil, chain); err != nil || !bytes.Equal(content.GetAuthority(), second.Certificate().Raw) {
		t.Errorf("of the state in which it counts: %v", err)
	}
}
