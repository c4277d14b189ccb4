package authorities

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// signJwt lets a machine say that it signs with a new key, and returns its ID.
func (s *site) signJwt(m *machine) string {
	signer := must(certs.NewJwtSigner(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{
		Reports: []*sitev1.NodeReport{{Node: m.name, Facts: &sitev1.NodeFacts{JwtKey: signer.Public()}}},
	}}})
	return certs.JwtKeyID(signer.Public())
}

// followJwt writes the next version when the keys are to change, and returns the
// IDs of those that count, sorted.
func (s *site) followJwt(now time.Time) []string {
	if keys := JwtKeys(s.store.View(), s.bundle(), now); keys != nil {
		trust := s.store.View().Trust()
		next := must(certs.ExtendTrust(trust[len(trust)-1], s.machines[0].newest, certs.TrustChange{JwtKeys: keys}))
		s.apply(&sitev1.Entry{Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}}})
	}
	var ids []string
	for _, key := range s.bundle().JwtKeys() {
		ids = append(ids, certs.JwtKeyID(key.GetKey()))
	}
	slices.Sort(ids)
	return ids
}

func sorted(ids ...string) []string { slices.Sort(ids); return ids }

func TestAJwtKeyThatWasReplacedStaysUntilNothingItSignedCounts(t *testing.T) {
	s, now := newSite(1, none), siteBegun
	first, other := s.signJwt(s.machines[0]), s.signJwt(s.machines[1])
	s.signJwt(s.machines[3]) // has no replica
	if got := s.followJwt(now); !slices.Equal(got, sorted(first, other)) {
		t.Fatalf("%v count, should %v", got, []string{first, other})
	}
	second := s.signJwt(s.machines[0])
	for _, step := range []struct {
		after time.Duration
		want  []string
	}{
		{0, sorted(first, second, other)},
		{certs.JwtLifetime, sorted(first, second, other)},
		{jwtKept - time.Second, sorted(first, second, other)},
		{jwtKept, sorted(second, other)},
	} {
		if got := s.followJwt(now.Add(step.after)); !slices.Equal(got, step.want) {
			t.Fatalf("after %s %v count, should %v", step.after, got, step.want)
		}
	}
	versions := len(s.store.View().Trust())
	s.followJwt(now.Add(24 * time.Hour))
	if len(s.store.View().Trust()) != versions {
		t.Error("the chain grows though nothing has changed")
	}
}

func TestAJwtKeyLeavesAtOnceWithAnEvictedVoter(t *testing.T) {
	s, now := newSite(1, none), siteBegun
	stays, leaves := s.signJwt(s.machines[0]), s.signJwt(s.machines[1])
	s.followJwt(now)
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: s.machines[1].name}}})
	if got := s.followJwt(now); !slices.Equal(got, []string{stays}) {
		t.Errorf("%v count, with %s of the evicted one", got, leaves)
	}
}

func TestNobodyTakesTheJwtKeyOfAnotherWithIt(t *testing.T) {
	s, now := newSite(1, none), siteBegun
	key := s.signJwt(s.machines[0])
	s.followJwt(now)
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{
		{Node: s.machines[1].name, Facts: &sitev1.NodeFacts{JwtKey: s.bundle().JwtKeys()[0].GetKey()}},
	}}}})
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: s.machines[1].name}}})
	if got := s.followJwt(now); !slices.Equal(got, []string{key}) {
		t.Errorf("%v count", got)
	}
}

func TestTimeThatIsSetBackKeepsNoJwtKeyLonger(t *testing.T) {
	s, now := newSite(1, none), siteBegun.AddDate(20, 0, 0)
	s.signJwt(s.machines[0])
	s.followJwt(now)
	second := s.signJwt(s.machines[0])
	s.followJwt(now)
	if got := s.followJwt(siteBegun); !slices.Equal(got, []string{second}) {
		t.Errorf("%v count", got)
	}
}
