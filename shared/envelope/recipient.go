package envelope

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"skerry.dev/shared/env"
)

const (
	// PublicKeySize of a recipient's key: a point of P-256, not compressed.
	PublicKeySize = 65
	// enc is what HPKE puts before the ciphertext: a public key.
	encSize  = PublicKeySize
	pemBlock = "PRIVATE KEY"
)

// Recipient holds the private key of somebody to whom keys are sealed: a node,
// or whoever keeps a recovery key.
type Recipient struct{ key *ecdh.PrivateKey }

// NewRecipient draws a key pair.
func NewRecipient(rand env.Rand) (*Recipient, error) {
	key, err := ecdh.P256().GenerateKey(rand)
	if err != nil {
		return nil, err
	}
	return &Recipient{key: key}, nil
}

// Public key to seal to.
func (r *Recipient) Public() []byte { return r.key.PublicKey().Bytes() }

// Open what was sealed to this recipient for one place.
func (r *Recipient) Open(place Place, sealed []byte) ([]byte, error) {
	if len(sealed) < encSize+16 {
		return nil, ErrSealed
	}
	key, err := hpke.NewDHKEMPrivateKey(r.key)
	if err != nil {
		return nil, err
	}
	content, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), place, sealed)
	if err != nil {
		return nil, ErrSealed
	}
	return content, nil
}

// SealTo seals content to the holder of a public key, for one place.
func SealTo(public []byte, place Place, content []byte) ([]byte, error) {
	point, err := ecdh.P256().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("it is not a public key on P-256: %w", err)
	}
	key, err := hpke.NewDHKEMPublicKey(point)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), place, content)
}

// CheckPublic refuses what is not a public key to seal to.
func CheckPublic(public []byte) error {
	_, err := ecdh.P256().NewPublicKey(public)
	return err
}

// PEM of the private key, PKCS #8.
func (r *Recipient) PEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(r.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemBlock, Bytes: der}), nil
}

// ParsePEM reads what PEM gave.
func ParsePEM(encoded []byte) (*Recipient, error) {
	block, rest := pem.Decode(encoded)
	if block == nil || block.Type != pemBlock || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it holds no private key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it holds no private key that parses")
	}
	switch key := key.(type) {
	case *ecdh.PrivateKey:
		return recipientOf(key)
	case interface {
		ECDH() (*ecdh.PrivateKey, error)
	}:
		converted, err := key.ECDH()
		if err != nil {
			return nil, errors.New("it is not a key on P-256")
		}
		return recipientOf(converted)
	default:
		return nil, errors.New("it is not a key on P-256")
	}
}

func recipientOf(key *ecdh.PrivateKey) (*Recipient, error) {
	if key.Curve() != ecdh.P256() {
		return nil, errors.New("it is not a key on P-256")
	}
	return &Recipient{key: key}, nil
}

// recoveryPrefix begins the text of a recovery key, so that people and scanners
// know it for what it is.
const recoveryPrefix = "skerry-recovery-"

// Text of a recovery key, to be written down: the private key, and four bytes
// by which a mistake in writing shows.
func (r *Recipient) Text() string {
	secret := r.key.Bytes()
	return recoveryPrefix + base64.RawURLEncoding.EncodeToString(append(secret, Check(secret)[:4]...))
}

// ParseText reads what Text gave, white space around and within it aside.
func ParseText(text string) (*Recipient, error) {
	rest, found := strings.CutPrefix(strings.Join(strings.Fields(text), ""), recoveryPrefix)
	decoded, err := base64.RawURLEncoding.DecodeString(rest)
	if !found || err != nil || len(decoded) != KeySize+4 {
		return nil, fmt.Errorf("it is not a recovery key: those begin with %s", recoveryPrefix)
	}
	secret, sum := decoded[:KeySize], decoded[KeySize:]
	if !bytes.Equal(Check(secret)[:4], sum) {
		return nil, errors.New("it is a recovery key with a mistake in it")
	}
	key, err := ecdh.P256().NewPrivateKey(secret)
	if err != nil {
		return nil, errors.New("it is a recovery key with a mistake in it")
	}
	return &Recipient{key: key}, nil
}
