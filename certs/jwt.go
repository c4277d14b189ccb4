package certs

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"skerry.dev/shared/problem"
)

const (
	// maxJwt bounds a token before it is parsed, in bytes.
	maxJwt = 8 << 10
	// maxAudiences of one token, of maxAudience bytes each.
	maxAudiences = 16
	maxAudience  = 256
)

// JwtSigner signs JWT-SVIDs with the key of one voter, which never leaves its
// disk.
type JwtSigner struct {
	key    *ecdsa.PrivateKey
	public []byte
}

// NewJwtSigner signs with a key on P-256.
func NewJwtSigner(key *ecdsa.PrivateKey) (*JwtSigner, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err == nil {
		_, err = ParseJwtKey(public)
	}
	if err != nil {
		return nil, err
	}
	return &JwtSigner{key: key, public: public}, nil
}

// Public key, DER.
func (s *JwtSigner) Public() []byte { return s.public }

// Issue a JWT-SVID of a workload (JWT-SVID specification, sections 2 and 3). It has no
// iat: what judges by a clock that is behind would refuse it for that alone.
func (s *JwtSigner) Issue(site, project, workload string, audience []string, now time.Time) (token string, expires time.Time, err error) {
	if err := CheckAudience(audience); err != nil {
		return "", time.Time{}, err
	}
	domain, err := siteDomain(site)
	if err != nil {
		return "", time.Time{}, err
	}
	id, err := spiffeid.FromSegments(domain, string(RoleWorkload), project, workload)
	if err != nil {
		return "", time.Time{}, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: JwtKeyID(s.public)}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", time.Time{}, err
	}
	expires = now.Add(JwtLifetime).Truncate(time.Second)
	token, err = jwt.Signed(signer).Claims(jwt.Claims{
		Subject: id.String(), Audience: audience, Expiry: jwt.NewNumericDate(expires),
	}).Serialize()
	return token, expires, err
}

// CheckAudience refuses what no JWT-SVID may be for.
func CheckAudience(audience []string) error {
	if len(audience) == 0 {
		return problem.New(problem.Invalid, "audience", "no audience is named").WithHint("name who is to believe the JWT-SVID, and nobody else")
	}
	if len(audience) > maxAudiences {
		return problem.New(problem.Invalid, "audience", "%d audiences are named, at most %d are possible", len(audience), maxAudiences)
	}
	for _, one := range audience {
		if err := checkAudience(one); err != nil {
			return err
		}
	}
	return nil
}

func checkAudience(one string) error {
	switch {
	case one == "":
		return problem.New(problem.Invalid, "audience", "an audience is empty")
	case len(one) > maxAudience:
		return problem.New(problem.Invalid, "audience", "an audience has %d bytes, at most %d are possible", len(one), maxAudience)
	case !utf8.ValidString(one):
		return problem.New(problem.Invalid, "audience", "an audience is not valid UTF-8")
	}
	for _, r := range one {
		if !unicode.IsPrint(r) {
			return problem.New(problem.Invalid, "audience", "%q holds what cannot be printed", one)
		}
	}
	return nil
}

// JwtSVID is a token that was found to be valid.
type JwtSVID struct {
	ID spiffeid.ID
	// KeyID names the key that signed it.
	KeyID   string
	Expires time.Time
	// Claims are all claims, as JSON has them.
	Claims map[string]any
}

// ValidateJwt checks a JWT-SVID for one audience at site time: its signature by a
// key of the chain of trust, who it is of, for whom, and until when.
func (b *Bundle) ValidateJwt(token, audience string, now time.Time) (*JwtSVID, error) {
	if err := checkAudience(audience); err != nil {
		return nil, err
	}
	refused := func(format string, args ...any) (*JwtSVID, error) {
		return nil, problem.New(problem.Invalid, "JWT-SVID", format, args...)
	}
	if len(token) > maxJwt {
		return refused("it has %d bytes, at most %d are possible", len(token), maxJwt)
	}
	// ES256 is what the site signs with; none and all others do not parse.
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return refused("it does not parse as one that is signed with ES256: %w", err)
	}
	public, err := b.jwtSignerOf(parsed)
	if err != nil {
		return refused("%w", err)
	}
	var claims jwt.Claims
	svid := &JwtSVID{}
	if err := parsed.Claims(public, &claims, &svid.Claims); err != nil {
		return refused("its signature or its claims are wrong: %w", err)
	}
	if svid.ID, err = b.judgeClaims(claims, audience, now); err != nil {
		return refused("%w", err)
	}
	svid.KeyID, svid.Expires = parsed.Headers[0].KeyID, claims.Expiry.Time()
	return svid, nil
}

// jwtSignerOf is the key that a token says it was signed with. Its header holds what
// the specification names and nothing else (section 2).
func (b *Bundle) jwtSignerOf(token *jwt.JSONWebToken) (*ecdsa.PublicKey, error) {
	if len(token.Headers) != 1 {
		return nil, fmt.Errorf("it has %d signatures", len(token.Headers))
	}
	head := token.Headers[0]
	for name, value := range head.ExtraHeaders {
		if name != jose.HeaderType || value != "JWT" && value != "JOSE" {
			return nil, fmt.Errorf("its header says %.40q: %.40q", string(name), fmt.Sprint(value))
		}
	}
	public := b.jwtPublic[head.KeyID]
	if head.JSONWebKey != nil || head.Nonce != "" {
		return nil, errors.New("its header brings a key or a nonce")
	}
	if public == nil {
		return nil, fmt.Errorf("no voter of site %s signs with the key %.80q", b.Site(), head.KeyID)
	}
	return public, nil
}

func (b *Bundle) judgeClaims(claims jwt.Claims, audience string, now time.Time) (spiffeid.ID, error) {
	id, err := spiffeid.FromString(claims.Subject)
	if err != nil {
		return id, fmt.Errorf("it is of no SPIFFE ID: %w", err)
	}
	if peer, err := peerOf(id); err != nil || peer.Role != RoleWorkload || id.TrustDomain() != b.domain {
		return id, fmt.Errorf("%s is no workload of site %s", id, b.Site())
	}
	if claims.Expiry == nil {
		return id, errors.New("it does not say until when it counts (exp)")
	}
	if len(claims.Audience) == 0 {
		return id, errors.New("it does not say for whom it is (aud)")
	}
	if now.IsZero() {
		now = time.Unix(0, 0) // to the library, no time would mean this machine's
	}
	switch err := claims.ValidateWithLeeway(jwt.Expected{AnyAudience: jwt.Audience{audience}, Time: now}, 0); {
	case errors.Is(err, jwt.ErrExpired):
		return id, fmt.Errorf("it expired at %s, site time is %s now", claims.Expiry.Time().UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrInvalidAudience):
		return id, fmt.Errorf("it is for %.300q, not for %q", []string(claims.Audience), audience)
	case err != nil:
		return id, err
	}
	return id, nil
}
