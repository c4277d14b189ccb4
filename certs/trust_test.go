package certs

import (
	"crypto/x509"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func extend(t testing.TB, last *sitev1.TrustVersion, signer *Authority, add ...*x509.Certificate) *sitev1.TrustVersion {
	t.Helper()
	next, err := ExtendTrust(last, signer, TrustChange{Add: add})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// chainOf three versions: a alone, a and b signed by a, a to c signed by b.
func chainOf(t testing.TB, a, b, c *Authority) []*sitev1.TrustVersion {
	t.Helper()
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	second := extend(t, first, a, b.Certificate())
	return []*sitev1.TrustVersion{first, second, extend(t, second, b, c.Certificate())}
}

func TestAChainIsWalkedFromItsID(t *testing.T) {
	a, b, c := newAuthority(t, "harbour"), newAuthority(t, "harbour"), newAuthority(t, "harbour")
	chain := chainOf(t, a, b, c)
	bundle, err := VerifyTrust(SiteID(chain[0]), chain)
	if err != nil {
		t.Fatal(err)
	}
	if bundle.Version() != 3 || bundle.Site() != "harbour" || bundle.SiteID() != SiteID(chain[0]) || len(bundle.Authorities()) != 3 {
		t.Errorf("bundle is %+v", bundle)
	}
	for _, authority := range []*Authority{a, b, c} {
		leaf := issueNode(t, authority, "n9", today)
		if _, err := VerifyPeer([]*x509.Certificate{leaf}, bundle, today); err != nil {
			t.Error(err)
		}
	}
}

func TestABundleIsExtendedByWhatFollowsAlone(t *testing.T) {
	a, b, c := newAuthority(t, "harbour"), newAuthority(t, "harbour"), newAuthority(t, "harbour")
	chain := chainOf(t, a, b, c)
	whole, err := VerifyTrust(SiteID(chain[0]), chain)
	if err != nil {
		t.Fatal(err)
	}
	first, err := VerifyTrust(SiteID(chain[0]), chain[:1])
	if err != nil {
		t.Fatal(err)
	}
	extended, err := first.Extend(chain[1:])
	if err != nil || extended.Version() != whole.Version() || string(extended.hash) != string(whole.hash) || len(extended.Authorities()) != 3 {
		t.Errorf("%+v, %v", extended, err)
	}
	if _, err := first.Extend(chain[2:]); err == nil {
		t.Error("a version was left out, and nobody noticed")
	}
}

func TestVerifyTrustRefuses(t *testing.T) {
	a, b, c := newAuthority(t, "harbour"), newAuthority(t, "harbour"), newAuthority(t, "harbour")
	chain := chainOf(t, a, b, c)
	first, second, third := chain[0], chain[1], chain[2]
	id := SiteID(first)
	otherBegin, err := FirstTrust("harbour", b)
	if err != nil {
		t.Fatal(err)
	}
	forkedSecond := extend(t, first, a, c.Certificate())
	stranger := rewrite(t, second, newAuthority(t, "harbour"), func(*sitev1.TrustBody) {})
	lateJoiner := rewrite(t, third, c, func(*sitev1.TrustBody) {})
	for name, test := range map[string]struct {
		chain []*sitev1.TrustVersion
		want  string
	}{
		"no version":                   {nil, "has 0 versions"},
		"another site's chain":         {[]*sitev1.TrustVersion{otherBegin}, "it is that of site"},
		"the end of a chain alone":     {chain[1:], "it is that of site"},
		"a version left out":           {[]*sitev1.TrustVersion{first, third}, "does not follow version 1"},
		"a version twice":              {[]*sitev1.TrustVersion{first, second, second}, "does not follow version 2"},
		"an old version replayed":      {[]*sitev1.TrustVersion{first, second, first}, "does not follow version 2"},
		"a fork":                       {[]*sitev1.TrustVersion{first, forkedSecond, third}, "does not follow version 2"},
		"a stranger's signature":       {[]*sitev1.TrustVersion{first, stranger}, "was no CA of the site"},
		"a CA that counts only later":  {[]*sitev1.TrustVersion{first, second, lateJoiner}, "was no CA of the site"},
		"a signature over other bytes": {[]*sitev1.TrustVersion{first, withSignature(second, third.GetSignature())}, "signature is not that"},
		"no signature":                 {[]*sitev1.TrustVersion{first, withSignature(second, nil)}, "signature is not that"},
		"another site's name":          {[]*sitev1.TrustVersion{first, rewrite(t, second, a, func(b *sitev1.TrustBody) { b.Site = "mine" })}, "is a CA of"},
		"no CA at all":                 {[]*sitev1.TrustVersion{first, rewrite(t, second, a, func(b *sitev1.TrustBody) { b.Authorities = nil })}, "names 0 CAs"},
		"a leaf as CA": {[]*sitev1.TrustVersion{first, rewrite(t, second, a, func(body *sitev1.TrustBody) {
			body.Authorities = append(body.Authorities, issueNode(t, a, "n1", today).Raw)
		})}, "is not a CA"},
		"a CA of another site": {[]*sitev1.TrustVersion{first, rewrite(t, second, a, func(body *sitev1.TrustBody) {
			body.Authorities = append(body.Authorities, newAuthority(t, "mine").Certificate().Raw)
		})}, "is a CA of spiffe://mine"},
		"a damaged body": {[]*sitev1.TrustVersion{first, {Body: []byte{0xff}}}, "does not parse"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := VerifyTrust(id, test.chain); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q in it", err, test.want)
			}
		})
	}
}

func TestTheFirstVersionMustBeTheFirst(t *testing.T) {
	a := newAuthority(t, "harbour")
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	late := rewrite(t, first, a, func(body *sitev1.TrustBody) { body.Version = 2 })
	if _, err := VerifyTrust(SiteID(late), []*sitev1.TrustVersion{late}); err == nil {
		t.Error("a chain that begins with version 2 was accepted")
	}
	if _, err := FirstTrust("mine", a); err == nil {
		t.Error("the CA of one site began another")
	}
}

func TestExtendTrustMakesNothingThatNobodyWouldAccept(t *testing.T) {
	a, b := newAuthority(t, "harbour"), newAuthority(t, "harbour")
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ExtendTrust(first, b, TrustChange{Add: []*x509.Certificate{b.Certificate()}}); err == nil || !strings.Contains(err.Error(), "cannot sign") {
		t.Errorf("a CA let itself in: %v", err)
	}
	if _, err := ExtendTrust(first, a, TrustChange{Add: []*x509.Certificate{newAuthority(t, "mine").Certificate()}}); err == nil {
		t.Error("the CA of another site was let in")
	}
	many := make([]*x509.Certificate, maxAuthorities)
	for i := range many {
		many[i] = newAuthority(t, "harbour").Certificate()
	}
	if _, err := ExtendTrust(first, a, TrustChange{Add: many}); err == nil {
		t.Errorf("%d CAs were let in", maxAuthorities+1)
	}
	again := extend(t, first, a, a.Certificate(), b.Certificate())
	bundle, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first, again})
	if err != nil || len(bundle.Authorities()) != 2 {
		t.Errorf("a CA that is known already is there %d times, error %v", len(bundle.Authorities()), err)
	}
}

// rewrite changes a version's body and signs it with any key.
func rewrite(t testing.TB, version *sitev1.TrustVersion, signer *Authority, change func(*sitev1.TrustBody)) *sitev1.TrustVersion {
	t.Helper()
	body := &sitev1.TrustBody{}
	if err := proto.Unmarshal(version.GetBody(), body); err != nil {
		t.Fatal(err)
	}
	change(body)
	out, err := signTrust(signer, body)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func withSignature(version *sitev1.TrustVersion, signature []byte) *sitev1.TrustVersion {
	out := proto.CloneOf(version)
	out.Signature = signature
	return out
}
