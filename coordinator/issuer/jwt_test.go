package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// knowSigner makes a key for JWT-SVIDs and puts it into the chain of trust.
func (s *testSite) knowSigner() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.signer, err = certs.NewJwtSigner(key); err != nil {
		s.t.Fatal(err)
	}
	chain := s.store.View().Trust()
	next, err := certs.ExtendTrust(chain[len(chain)-1], s.authority, certs.TrustChange{
		JwtKeys: []*sitev1.JwtKey{{Node: "n1", Key: s.signer.Public(), Added: timestamppb.Now()}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.must(&sitev1.Entry{Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}}})
}

func (s *testSite) askJwt(node, placement string, audience ...string) (*sitev1.IssueJwtSvidResponse, error) {
	ctx := mtls.WithPeer(s.t.Context(), certs.Peer{Role: certs.RoleNode, Name: node, KeyFingerprint: fingerprint(node)})
	response, err := s.issuer.IssueJwtSvid(ctx, connect.NewRequest(&sitev1.IssueJwtSvidRequest{Project: "default", Placement: placement, Audience: audience}))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

func TestAJwtIsOfTheWorkloadForTheAudienceAndShort(t *testing.T) {
	s := newTestSite(t)
	s.knowSigner()
	issued, err := s.askJwt("n1", "web-1", "bank")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := s.issuer.Bundle(s.store.View())
	if err != nil {
		t.Fatal(err)
	}
	svid, err := bundle.ValidateJwt(issued.GetToken(), "bank", time.Now())
	if err != nil || svid.ID.String() != "spiffe://harbour/workload/default/web" {
		t.Fatalf("it is %+v, %v", svid, err)
	}
	if left := time.Until(svid.Expires); left > certs.JwtLifetime || left < certs.JwtLifetime/2 {
		t.Errorf("it counts for %s", left)
	}
}

func TestWhoGetsNoJwt(t *testing.T) {
	many := strings.Split(strings.Repeat("bank ", 17), " ")
	for name, test := range map[string]struct {
		node, placement string
		audience        []string
		with            func(*testSite)
		code            connect.Code
		says            string
	}{
		"another node's placement":          {"n1", "web-2", []string{"bank"}, nil, connect.CodePermissionDenied, "not bound"},
		"one that there is not":             {"n1", "nobody-1", []string{"bank"}, nil, connect.CodePermissionDenied, "not bound"},
		"one that asks for no identity":     {"n1", "plain-1", []string{"bank"}, nil, connect.CodePermissionDenied, "no identity"},
		"one that is to end":                {"n1", "web-1", []string{"bank"}, func(s *testSite) { s.stop("web-1") }, connect.CodePermissionDenied, "on its way out"},
		"without audience":                  {"n1", "web-1", nil, nil, connect.CodeInvalidArgument, "audience"},
		"with an empty one":                 {"n1", "web-1", []string{""}, nil, connect.CodeInvalidArgument, "empty"},
		"with too many":                     {"n1", "web-1", many[:17], nil, connect.CodeInvalidArgument, "at most 16"},
		"a voter that is cut off":           {"n1", "web-1", []string{"bank"}, func(s *testSite) { s.isolated = true }, connect.CodeUnavailable, "no majority"},
		"a voter whose key is not known":    {"n1", "web-1", []string{"bank"}, func(s *testSite) { s.signer = nil }, connect.CodeUnavailable, "not known"},
		"a node of another key":             {"n9", "web-1", []string{"bank"}, nil, connect.CodePermissionDenied, ""},
		"an audience that prints a bell":    {"n1", "web-1", []string{"ba\ank"}, nil, connect.CodeInvalidArgument, "printed"},
		"an audience that is no UTF-8":      {"n1", "web-1", []string{"\xff"}, nil, connect.CodeInvalidArgument, "UTF-8"},
		"an audience that has no end":       {"n1", "web-1", []string{strings.Repeat("b", 10_000)}, nil, connect.CodeInvalidArgument, "at most 256"},
		"a placement's name without an end": {"n1", strings.Repeat("w", 10_000), []string{"bank"}, nil, connect.CodePermissionDenied, "not bound"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t)
			s.knowSigner()
			if test.with != nil {
				test.with(s)
			}
			issued, err := s.askJwt(test.node, test.placement, test.audience...)
			if connect.CodeOf(err) != test.code && !(test.node == "n9" && err != nil) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it gave %v, %v", issued, err)
			}
		})
	}
}
