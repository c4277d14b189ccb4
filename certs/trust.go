package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxTrustVersions and maxAuthorities bound what is parsed.
	maxTrustVersions = 10_000
	maxAuthorities   = 64
)

// Bundle is what a trust version says: the CAs that count. It is immutable.
type Bundle struct {
	domain      spiffeid.TrustDomain
	version     uint64
	hash        []byte
	siteID      string
	authorities []*x509.Certificate
	// former are CAs that counted in an earlier version and do not any more.
	former []*x509.Certificate
	// revoked maps fingerprints of keys to the subjects that had them.
	revoked map[string]string
	timeEra uint64
	// siteEpoch counts the recoveries of the site, from 1; recovered are their IDs.
	siteEpoch uint64
	recovered [][]byte
	// before are the CAs that counted before the last one.
	before  []*x509.Certificate
	jwtKeys []*sitev1.JwtKey
	// jwtPublic maps IDs of jwtKeys to the keys.
	jwtPublic map[string]*ecdsa.PublicKey
}

// Site is the name of the site, its trust domain.
func (b *Bundle) Site() string { return b.domain.Name() }

// SiteID is the hash of the first version of the chain.
func (b *Bundle) SiteID() string { return b.siteID }

// Version of the chain that the bundle is of.
func (b *Bundle) Version() uint64 { return b.version }

// TimeEra counts how often an operator has set site time.
func (b *Bundle) TimeEra() uint64 { return b.timeEra }

// Authorities that count. The slice must not be changed.
func (b *Bundle) Authorities() []*x509.Certificate { return b.authorities }

// Has tells whether a CA counts.
func (b *Bundle) Has(authority *x509.Certificate) bool {
	for _, known := range b.authorities {
		if known.Equal(authority) {
			return true
		}
	}
	return false
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (b *Bundle) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if domain != b.domain {
		return nil, fmt.Errorf("trust domain %s is not that of this site, %s", domain, b.domain)
	}
	return x509bundle.FromX509Authorities(domain, b.authorities), nil
}

// FirstTrust begins a site's chain of trust with one CA, which signs itself.
func FirstTrust(site string, authority *Authority) (*sitev1.TrustVersion, error) {
	if _, err := parseAuthorities([][]byte{authority.cert.Raw}, site); err != nil {
		return nil, err
	}
	return signTrust(authority, &sitev1.TrustBody{
		Site:        site,
		Version:     1,
		Authorities: [][]byte{authority.cert.Raw},
	})
}

// SiteID of the site whose chain begins with first: hex SHA-256 of its body.
func SiteID(first *sitev1.TrustVersion) string {
	sum := sha256.Sum256(first.GetBody())
	return hex.EncodeToString(sum[:])
}

// TrustChange is what a version of the chain changes.
type TrustChange struct {
	// Add CAs; those that count already are left out.
	Add []*x509.Certificate
	// Drop CAs: what they issued counts no more, from then on.
	Drop []*x509.Certificate
	// Revoke keys.
	Revoke []*sitev1.Revocation
	// AuditKeys sign checkpoints of the audit log from then on.
	AuditKeys []*sitev1.AuditKey
	// JwtKeys that count from then on; nil for those of the version before.
	JwtKeys []*sitev1.JwtKey
	// NextEra: an operator sets site time.
	NextEra bool
	// Recover begins a site epoch: the ID of the record; nil for none. The site
	// epoch before is that of the version before.
	Recover *sitev1.RecoverRecord
}

// ExtendTrust returns the version that follows the last one of a verified
// chain. The signer must count in the last one.
func ExtendTrust(last *sitev1.TrustVersion, signer *Authority, change TrustChange) (*sitev1.TrustVersion, error) {
	body := &sitev1.TrustBody{}
	if err := proto.Unmarshal(last.GetBody(), body); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(last.GetBody())
	next := &sitev1.TrustBody{
		Site:      body.GetSite(),
		Version:   body.GetVersion() + 1,
		Previous:  sum[:],
		Revoked:   change.Revoke,
		AuditKeys: change.AuditKeys,
		TimeEra:   body.GetTimeEra(),
		JwtKeys:   body.GetJwtKeys(),
		Recover:   change.Recover,
	}
	if change.JwtKeys != nil {
		next.JwtKeys = change.JwtKeys
	}
	if change.NextEra {
		next.TimeEra++
	}
	known, err := parseAuthorities(body.GetAuthorities(), body.GetSite())
	if err != nil {
		return nil, err
	}
	before := &Bundle{authorities: known}
	if !before.Has(signer.cert) {
		return nil, problem.New(problem.Conflict, "chain of trust", "%s is no CA of version %d and cannot sign the next one",
			signer.cert.Subject.CommonName, body.GetVersion())
	}
	dropped := &Bundle{authorities: change.Drop}
	for _, cert := range append(known, newTo(before, change.Add)...) {
		if !dropped.Has(cert) {
			next.Authorities = append(next.Authorities, cert.Raw)
		}
	}
	_, err = parseAuthorities(next.GetAuthorities(), body.GetSite())
	if err == nil {
		_, err = parseJwtKeys(next.GetJwtKeys())
	}
	if err != nil {
		return nil, problem.New(problem.Conflict, "chain of trust", "a version that no node would accept: %w", err)
	}
	return signTrust(signer, next)
}

func newTo(before *Bundle, add []*x509.Certificate) []*x509.Certificate {
	var missing []*x509.Certificate
	for _, cert := range add {
		if !before.Has(cert) {
			missing = append(missing, cert)
		}
	}
	return missing
}

func signTrust(signer *Authority, body *sitev1.TrustBody) (*sitev1.TrustVersion, error) {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(body)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(encoded)
	signature, err := ecdsa.SignASN1(signer.rand, signer.key, digest[:])
	if err != nil {
		return nil, err
	}
	return &sitev1.TrustVersion{Body: encoded, Signer: signer.cert.Raw, Signature: signature}, nil
}

// VerifyTrust walks a chain from the site ID on and returns its last bundle.
// A chain that is of another site, broken, forked or forged gives an error.
func VerifyTrust(siteID string, chain []*sitev1.TrustVersion) (*Bundle, error) {
	if len(chain) == 0 || len(chain) > maxTrustVersions {
		return nil, problem.New(problem.Invalid, "chain of trust", "it has %d versions, 1 to %d are possible", len(chain), maxTrustVersions)
	}
	if got := SiteID(chain[0]); got != siteID {
		return nil, problem.New(problem.Invalid, "chain of trust", "it is that of site %.12s, expected was %.12s", got, siteID).
			WithHint("is the address that of another site?")
	}
	var bundle *Bundle
	for _, version := range chain {
		next, err := extendBundle(bundle, version, siteID)
		if err != nil {
			return nil, err
		}
		bundle = next
	}
	return bundle, nil
}

// Extend returns the bundle after more versions of its chain. What came before
// was verified when the bundle was made.
func (b *Bundle) Extend(versions []*sitev1.TrustVersion) (*Bundle, error) {
	if b.version+uint64(len(versions)) > maxTrustVersions {
		return nil, problem.New(problem.Invalid, "chain of trust", "it has %d versions, 1 to %d are possible", b.version+uint64(len(versions)), maxTrustVersions)
	}
	for _, version := range versions {
		next, err := extendBundle(b, version, b.siteID)
		if err != nil {
			return nil, err
		}
		b = next
	}
	return b, nil
}

// extendBundle checks one version against the one before, nil for none.
func extendBundle(before *Bundle, version *sitev1.TrustVersion, siteID string) (*Bundle, error) {
	body := &sitev1.TrustBody{}
	if err := proto.Unmarshal(version.GetBody(), body); err != nil {
		return nil, problem.New(problem.Invalid, "chain of trust", "a version does not parse: %w", err)
	}
	broken := func(format string, args ...any) error {
		return problem.New(problem.Invalid, fmt.Sprintf("chain of trust, version %d", body.GetVersion()), format, args...)
	}
	domain, err := siteDomain(body.GetSite())
	if err != nil {
		return nil, broken("%w", err)
	}
	sum := sha256.Sum256(version.GetBody())
	next := &Bundle{domain: domain, version: body.GetVersion(), hash: sum[:], siteID: siteID, timeEra: body.GetTimeEra()}
	if next.authorities, err = parseAuthorities(body.GetAuthorities(), body.GetSite()); err != nil {
		return nil, broken("%w", err)
	}
	if next.revoked, err = withRevoked(before, body.GetRevoked()); err != nil {
		return nil, broken("%w", err)
	}
	if next.jwtPublic, err = parseJwtKeys(body.GetJwtKeys()); err != nil {
		return nil, broken("%w", err)
	}
	next.jwtKeys = body.GetJwtKeys()
	if err := next.begin(before, body.GetRecover()); err != nil {
		return nil, broken("%w", err)
	}
	signers := before
	if before == nil {
		signers = next // the first version signs itself; its hash is the site ID
		if body.GetVersion() != 1 || len(body.GetPrevious()) != 0 {
			return nil, broken("the first version must be number 1 and follow none")
		}
	} else if body.GetVersion() != before.version+1 || !bytes.Equal(body.GetPrevious(), before.hash) || domain != before.domain {
		return nil, broken("it does not follow version %d", before.version)
	} else if body.GetTimeEra() < before.timeEra {
		return nil, broken("it belongs to an era of site time before that of version %d", before.version)
	}
	if err := checkSignature(signers, version, sum[:]); err != nil {
		return nil, broken("%w", err)
	}
	next.former = formerOf(before, next)
	return next, nil
}

func parseAuthorities(encoded [][]byte, site string) ([]*x509.Certificate, error) {
	if len(encoded) == 0 || len(encoded) > maxAuthorities {
		return nil, fmt.Errorf("it names %d CAs, 1 to %d are possible", len(encoded), maxAuthorities)
	}
	var authorities []*x509.Certificate
	for _, der := range encoded {
		cert, err := ParseAuthority(der, site)
		if err != nil {
			return nil, err
		}
		authorities = append(authorities, cert)
	}
	return authorities, nil
}

// ParseAuthority reads the certificate of a CA, and refuses what cannot be one of
// the site.
func ParseAuthority(der []byte, site string) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("a CA certificate does not parse: %w", err)
	}
	if err := checkAuthority(cert); err != nil {
		return nil, err
	}
	if id := cert.URIs[0].String(); id != "spiffe://"+site {
		return nil, fmt.Errorf("%s is a CA of %s", cert.Subject.CommonName, id)
	}
	return cert, nil
}

func checkSignature(signers *Bundle, version *sitev1.TrustVersion, digest []byte) error {
	signer, err := x509.ParseCertificate(version.GetSigner())
	if err != nil {
		return fmt.Errorf("the signer's certificate does not parse: %w", err)
	}
	if !signers.Has(signer) {
		return fmt.Errorf("%s, which signed it, was no CA of the site", signer.Subject.CommonName)
	}
	public, ok := signer.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(public, digest, version.GetSignature()) {
		return fmt.Errorf("the signature is not that of %s", signer.Subject.CommonName)
	}
	return nil
}
