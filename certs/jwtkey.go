package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// MaxJwtKeys in one version of the chain: those of all replicas, and of the ones
// that retire.
const MaxJwtKeys = 64

// jwtKeyUse is the use of a key in a SPIFFE bundle (SPIFFE Trust Domain and
// Bundle, section 4.2.2).
const jwtKeyUse = "jwt-svid"

// JwtKeyID is the ID of a public key in DER: hex SHA-256 of it.
func JwtKeyID(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// ParseJwtKey reads a public key that may sign JWT-SVIDs.
func ParseJwtKey(der []byte) (*ecdsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("a key for JWT-SVIDs does not parse: %w", err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("a key for JWT-SVIDs is a %T, not one of ECDSA on P-256", parsed)
	}
	// One key, one ID.
	if canonical, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(canonical, der) {
		return nil, fmt.Errorf("a key for JWT-SVIDs is encoded in an unusual way")
	}
	return key, nil
}

// parseJwtKeys maps the IDs of what a version names to the keys.
func parseJwtKeys(named []*sitev1.JwtKey) (map[string]*ecdsa.PublicKey, error) {
	if len(named) > MaxJwtKeys {
		return nil, fmt.Errorf("it names %d keys for JWT-SVIDs, at most %d are possible", len(named), MaxJwtKeys)
	}
	keys := map[string]*ecdsa.PublicKey{}
	for _, key := range named {
		public, err := ParseJwtKey(key.GetKey())
		if err != nil {
			return nil, err
		}
		id := JwtKeyID(key.GetKey())
		if keys[id] != nil || key.GetNode() == "" {
			return nil, fmt.Errorf("the key %.16s for JWT-SVIDs is named twice, or is nobody's", id)
		}
		keys[id] = public
	}
	return keys, nil
}

// JwtKeys that count. The slice must not be changed.
func (b *Bundle) JwtKeys() []*sitev1.JwtKey { return b.jwtKeys }

// JwtKey with an ID; nil when none that counts has it.
func (b *Bundle) JwtKey(id string) *sitev1.JwtKey {
	for _, key := range b.jwtKeys {
		if JwtKeyID(key.GetKey()) == id {
			return key
		}
	}
	return nil
}

// JWKS are the keys with which JWT-SVIDs of the site are validated, as a JWK
// set.
func (b *Bundle) JWKS() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, key := range b.jwtKeys {
		id := JwtKeyID(key.GetKey())
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: b.jwtPublic[id], KeyID: id, Use: jwtKeyUse, Algorithm: string(jose.ES256)})
	}
	return json.Marshal(set)
}
