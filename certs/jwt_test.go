package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

const shopWeb = "spiffe://harbour/workload/shop/web"

func newSigner(t testing.TB) (*JwtSigner, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewJwtSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer, key
}

// jwtSite is a chain of trust with the keys of signers.
func jwtSite(t testing.TB, signers ...*JwtSigner) *Bundle {
	t.Helper()
	authority, err := NewAuthority(rand.Reader, "harbour", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	first, err := FirstTrust("harbour", authority)
	if err != nil {
		t.Fatal(err)
	}
	keys := []*sitev1.JwtKey{}
	for _, signer := range signers {
		keys = append(keys, &sitev1.JwtKey{Node: "n1", Key: signer.Public(), Added: timestamppb.Now()})
	}
	second, err := ExtendTrust(first, authority, TrustChange{JwtKeys: keys})
	if err != nil {
		t.Fatal(err)
	}
	// What changes something else leaves them.
	third, err := ExtendTrust(second, authority, TrustChange{NextEra: true})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first, second, third})
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

func TestASPIFFELibraryBelievesAJwtOfTheSite(t *testing.T) {
	signer, _ := newSigner(t)
	bundle := jwtSite(t, signer)
	token, expires, err := signer.Issue("harbour", "shop", "web", []string{"bank", "post"}, time.Now())
	if err != nil || time.Until(expires) > JwtLifetime {
		t.Fatal(expires, err)
	}
	keys, err := bundle.JWKS()
	if err != nil || !strings.Contains(string(keys), `"use":"jwt-svid"`) {
		t.Fatalf("the bundle is %s, %v", keys, err)
	}
	theirs, err := jwtbundle.Parse(bundle.domain, keys)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := jwtsvid.ParseAndValidate(token, theirs, []string{"post"})
	if err != nil || svid.ID.String() != shopWeb {
		t.Fatalf("it is %v, %v", svid, err)
	}
	ours, err := bundle.ValidateJwt(token, "bank", time.Now())
	if err != nil || ours.ID.String() != shopWeb || !ours.Expires.Equal(expires) {
		t.Errorf("it is %+v, %v", ours, err)
	}
}

// forgeJwt signs claims with a header.
func forgeJwt(t testing.TB, algorithm jose.SignatureAlgorithm, key crypto.PrivateKey, claims any, head map[jose.HeaderKey]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	for name, value := range head {
		options.WithHeader(name, value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestJwtsThatAreNotBelieved(t *testing.T) {
	signer, key := newSigner(t)
	stranger, strangersKey := newSigner(t)
	bundle := jwtSite(t, signer)
	id := JwtKeyID(signer.Public())
	ours := jose.JSONWebKey{Key: key, KeyID: id}
	now := time.Now()
	good := func(change func(map[string]any)) map[string]any {
		claims := map[string]any{"sub": shopWeb, "aud": []string{"bank"}, "exp": now.Add(time.Minute).Unix()}
		if change != nil {
			change(claims)
		}
		return claims
	}
	es := func(claims any, head map[jose.HeaderKey]any) string {
		return forgeJwt(t, jose.ES256, ours, claims, head)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	raw := base64.RawURLEncoding.EncodeToString
	if _, err := bundle.ValidateJwt(es(good(nil), nil), "bank", now); err != nil {
		t.Fatalf("a good one is refused: %v", err)
	}
	parts := strings.Split(es(good(nil), nil), ".")
	flipped, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	flipped[10] ^= 1
	for name, test := range map[string]struct{ token, audience, says string }{
		"empty":                    {"", "bank", "does not parse"},
		"no token":                 {"a.b.c", "bank", "does not parse"},
		"too long":                 {strings.Repeat("a", maxJwt+1), "bank", "bytes"},
		"JSON serialization":       {`{"payload":"e30","signatures":[]}`, "bank", "does not parse"},
		"two parts":                {parts[0] + "." + parts[1], "bank", "does not parse"},
		"alg none":                 {raw([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", "bank", "does not parse"},
		"alg None":                 {raw([]byte(`{"alg":"None"}`)) + "." + parts[1] + "." + parts[2], "bank", "does not parse"},
		"HMAC with the public key": {forgeJwt(t, jose.HS256, jose.JSONWebKey{Key: signer.Public(), KeyID: id}, good(nil), nil), "bank", "ES256"},
		"RSA":                      {forgeJwt(t, jose.RS256, jose.JSONWebKey{Key: rsaKey, KeyID: id}, good(nil), nil), "bank", "ES256"},
		"a key of nobody":          {forgeJwt(t, jose.ES256, jose.JSONWebKey{Key: strangersKey, KeyID: JwtKeyID(stranger.Public())}, good(nil), nil), "bank", "no voter"},
		"another key under the ID": {forgeJwt(t, jose.ES256, jose.JSONWebKey{Key: strangersKey, KeyID: id}, good(nil), nil), "bank", "signature"},
		"no key ID":                {forgeJwt(t, jose.ES256, key, good(nil), nil), "bank", "no voter"},
		"a key in the header":      {forgeJwt(t, jose.ES256, strangersKey, good(nil), map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: &strangersKey.PublicKey}}), "bank", "brings a key"},
		"another type":             {es(good(nil), map[jose.HeaderKey]any{"typ": "at+jwt"}), "bank", "typ"},
		"a critical header":        {es(good(nil), map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}), "bank", ""},
		"a header of no meaning":   {es(good(nil), map[jose.HeaderKey]any{"jku": "https://evil"}), "bank", "jku"},
		"another signature":        {parts[0] + "." + parts[1] + "." + raw(flipped), "bank", "signature"},
		"other claims":             {parts[0] + "." + raw([]byte(`{"sub":"`+shopWeb+`"}`)) + "." + parts[2], "bank", "signature"},
		"no claims":                {es(map[string]any{}, nil), "bank", "SPIFFE ID"},
		"no subject":               {es(good(func(c map[string]any) { delete(c, "sub") }), nil), "bank", "SPIFFE ID"},
		"a subject of no site":     {es(good(func(c map[string]any) { c["sub"] = "shop/web" }), nil), "bank", "SPIFFE ID"},
		"another site":             {es(good(func(c map[string]any) { c["sub"] = "spiffe://reef/workload/shop/web" }), nil), "bank", "no workload"},
		"a node":                   {es(good(func(c map[string]any) { c["sub"] = "spiffe://harbour/node/n1" }), nil), "bank", "no workload"},
		"an operator":              {es(good(func(c map[string]any) { c["sub"] = "spiffe://harbour/operator/mara" }), nil), "bank", "no workload"},
		"no expiry":                {es(good(func(c map[string]any) { delete(c, "exp") }), nil), "bank", "exp"},
		"an expiry in words":       {es(good(func(c map[string]any) { c["exp"] = "tomorrow" }), nil), "bank", ""},
		"expired":                  {es(good(func(c map[string]any) { c["exp"] = now.Add(-2 * time.Second).Unix() }), nil), "bank", "expired"},
		"not yet":                  {es(good(func(c map[string]any) { c["nbf"] = now.Add(time.Hour).Unix() }), nil), "bank", "nbf"},
		"no audience":              {es(good(func(c map[string]any) { delete(c, "aud") }), nil), "bank", "aud"},
		"an empty audience":        {es(good(func(c map[string]any) { c["aud"] = []string{} }), nil), "bank", "aud"},
		"an audience of numbers":   {es(good(func(c map[string]any) { c["aud"] = []int{1} }), nil), "bank", ""},
		"another audience":         {es(good(nil), nil), "post", "not for"},
		"nobody asks":              {es(good(nil), nil), "", "empty"},
		"somebody with a bell":     {es(good(nil), nil), "ba\ank", "printed"},
		"somebody in another code": {es(good(nil), nil), "ba\xff", "UTF-8"},
		"somebody without end":     {es(good(nil), nil), strings.Repeat("b", maxAudience+1), "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			if svid, err := bundle.ValidateJwt(test.token, test.audience, now); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it gave %+v, %v", svid, err)
			}
		})
	}
}

func TestAKeyThatHasLeftSignsNothingThatIsBelieved(t *testing.T) {
	stays, _ := newSigner(t)
	leaves, _ := newSigner(t)
	token, _, err := leaves.Issue("harbour", "shop", "web", []string{"bank"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwtSite(t, stays, leaves).ValidateJwt(token, "bank", time.Now()); err != nil {
		t.Errorf("while it counts: %v", err)
	}
	if _, err := jwtSite(t, stays).ValidateJwt(token, "bank", time.Now()); err == nil {
		t.Error("it is believed")
	}
}

func TestJwtKeysThatNoVersionMayName(t *testing.T) {
	signer, _ := newSigner(t)
	weak, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewJwtSigner(weak); err == nil {
		t.Error("a key on another curve may sign")
	}
	many := []*sitev1.JwtKey{}
	for range MaxJwtKeys + 1 {
		one, _ := newSigner(t)
		many = append(many, &sitev1.JwtKey{Node: "n1", Key: one.Public()})
	}
	for name, keys := range map[string][]*sitev1.JwtKey{
		"too many":            many,
		"twice the same":      {{Node: "n1", Key: signer.Public()}, {Node: "n2", Key: signer.Public()}},
		"of nobody":           {{Key: signer.Public()}},
		"no key":              {{Node: "n1", Key: []byte("key")}},
		"with bytes after it": {{Node: "n1", Key: append(signer.Public()[:91:91], 0)}},
	} {
		if _, err := parseJwtKeys(keys); err == nil {
			t.Errorf("%s: they are taken", name)
		}
	}
}

// FuzzValidateJwt: no bytes that no key signed are believed, and none panic.
func FuzzValidateJwt(f *testing.F) {
	signer, _ := newSigner(f)
	bundle := jwtSite(f, signer)
	stranger, _ := newSigner(f)
	token, _, err := stranger.Issue("harbour", "shop", "web", []string{"bank"}, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token, "bank")
	f.Add(`eyJhbGciOiJub25lIn0.e30.`, "bank")
	f.Add("..", "")
	f.Fuzz(func(t *testing.T, token, audience string) {
		if svid, err := bundle.ValidateJwt(token, audience, time.Now()); err == nil {
			t.Errorf("it is believed as %s", svid.ID)
		}
	})
}
