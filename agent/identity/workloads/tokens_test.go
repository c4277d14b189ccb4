package workloads

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// jwtSite is a testSite whose voter signs JWT-SVIDs.
type jwtSite struct {
	*testSite
	signer   *certs.JwtSigner
	workload string
	asked    int
}

func newJwtSite(t *testing.T) (*jwtSite, *Tokens) {
	s := &jwtSite{testSite: newTestSite(t), workload: "web"}
	s.newKey()
	return s, NewTokens(TokensConfig{Site: s, Ask: s.ask, Env: env.NewSystem()})
}

// newKey replaces the only key that counts.
func (s *jwtSite) newKey() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.signer, err = certs.NewJwtSigner(key); err != nil {
		s.t.Fatal(err)
	}
	first, err := certs.FirstTrust("harbour", s.authority)
	if err != nil {
		s.t.Fatal(err)
	}
	next, err := certs.ExtendTrust(first, s.authority, certs.TrustChange{
		JwtKeys: []*sitev1.JwtKey{{Node: "n1", Key: s.signer.Public(), Added: timestamppb.Now()}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	bundle, err := certs.VerifyTrust(certs.SiteID(first), []*sitev1.TrustVersion{first, next})
	if err != nil {
		s.t.Fatal(err)
	}
	s.believe(s.authority, bundle)
}

func (s *jwtSite) ask(_ context.Context, request *sitev1.IssueJwtSvidRequest) (*sitev1.IssueJwtSvidResponse, error) {
	s.asked++
	if s.fails != nil {
		return nil, s.fails
	}
	token, expires, err := s.signer.Issue("harbour", request.GetProject(), s.workload, request.GetAudience(), s.Now())
	return &sitev1.IssueJwtSvidResponse{Token: token, Expires: timestamppb.New(expires)}, err
}

func TestATokenIsKeptForHalfOfItsLifeAndWhileAloneForAllOfIt(t *testing.T) {
	s, tokens := newJwtSite(t)
	p := placement("web", true, run)
	get := func(audience ...string) (Token, error) { return tokens.Token(t.Context(), p, audience) }
	first, err := get("bank")
	if err != nil || first.ID != "spiffe://harbour/workload/default/web" {
		t.Fatal(first, err)
	}
	if again, err := get("bank"); err != nil || again != first || s.asked != 1 {
		t.Errorf("it is %v, %v; voters were asked %d times", again, err, s.asked)
	}
	if other, err := get("post"); err != nil || other == first || s.asked != 2 {
		t.Errorf("for another audience it is %v, %v", other, err)
	}
	s.now = s.now.Add(certs.JwtLifetime/2 + time.Second)
	second, err := get("bank")
	if err != nil || second == first {
		t.Errorf("past half of its life it is still %v, %v", second, err)
	}
	s.fails = errors.New("no voter in reach")
	s.now = s.now.Add(certs.JwtLifetime - 2*time.Second)
	if alone, err := get("bank"); err != nil || alone != second {
		t.Errorf("alone it is %v, %v", alone, err)
	}
	s.now = s.now.Add(3 * time.Second)
	if alone, err := get("bank"); problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "no voter in reach") {
		t.Errorf("when it has expired it is %v, %v", alone, err)
	}
}

func TestATokenWhoseKeyHasLeftIsNotGivenOut(t *testing.T) {
	s, tokens := newJwtSite(t)
	p := placement("web", true, run)
	first, err := tokens.Token(t.Context(), p, []string{"bank"})
	if err != nil {
		t.Fatal(err)
	}
	s.newKey()
	if second, err := tokens.Token(t.Context(), p, []string{"bank"}); err != nil || second == first {
		t.Errorf("it is %v, %v", second, err)
	}
}

func TestATokenOfAnotherWorkloadIsNotTaken(t *testing.T) {
	s, tokens := newJwtSite(t)
	s.workload = "bank"
	if got, err := tokens.Token(t.Context(), placement("web", true, run), []string{"bank"}); err == nil {
		t.Errorf("it took %v", got)
	}
}

func TestTokensAreBounded(t *testing.T) {
	s, tokens := newJwtSite(t)
	tokens.throttle = nil
	for i := range maxTokens + 10 {
		tokens.keep(string(rune(i)), held{expires: s.now.Add(time.Duration(i+1) * time.Second)})
	}
	if _, there := tokens.held[string(rune(0))]; there || len(tokens.held) != maxTokens {
		t.Errorf("%d are kept", len(tokens.held))
	}
}

func TestAPlacementThatAsksWithoutEndIsThrottled(t *testing.T) {
	_, tokens := newJwtSite(t)
	var err error
	for i := 0; i < 10_000 && err == nil; i++ {
		_, err = tokens.Token(t.Context(), placement("web", true, run), []string{strconv.Itoa(i)})
	}
	if problem.KindOf(err) != problem.Exhausted {
		t.Errorf("it gave %v", err)
	}
}
