// Package envelope encrypts secrets in layers: a secret under a data key of its
// own, the data key under the site's key, and the site's key to the keys of
// those who may open it.
//
// Everything is bound to its place: what is opened elsewhere than where it was
// sealed does not open. It is pure, and knows nothing of what it seals.
//
// Content is under AES-256-GCM with random nonces; keys go to recipients by
// HPKE (RFC 9180) with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM:
// all of them in Go's FIPS 140-3 module.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"skerry.dev/shared/env"
)

const (
	// KeySize of data keys and of the site's key, in bytes.
	KeySize = 32
	// overhead of a nonce and a tag.
	overhead = 12 + 16
	// checkSize of a key's check value.
	checkSize = 16
)

// ErrSealed says that something does not open. It is one error for all reasons:
// who tampers learns nothing.
var ErrSealed = errors.New("it does not open: it was tampered with, belongs elsewhere, or is sealed under another key")

// Place is what something sealed is bound to.
type Place []byte

// At is the place that the parts name, in their order: each is written with its
// length, so that no two lists give the same place.
func At(purpose string, parts ...any) Place {
	place := appendText(nil, purpose)
	for _, part := range parts {
		switch part := part.(type) {
		case string:
			place = appendText(place, part)
		case uint64:
			place = binary.BigEndian.AppendUint64(append(place, 'n'), part)
		default:
			panic(fmt.Sprintf("envelope: a place is made of text and numbers, not of %T", part))
		}
	}
	return place
}

func appendText(place []byte, text string) []byte {
	place = binary.BigEndian.AppendUint32(append(place, 't'), uint32(len(text)))
	return append(place, text...)
}

// NewKey draws a key.
func NewKey(rand env.Rand) ([]byte, error) {
	key := make([]byte, KeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("no randomness: %w", err)
	}
	return key, nil
}

// Check is a value by which somebody who holds a key knows that it is the right
// one. It says nothing about the key, which is drawn from 2^256.
func Check(key []byte) []byte {
	sum := sha256.Sum256(append([]byte("skerry check of a key\x00"), key...))
	return sum[:checkSize]
}

// Encrypt seals content under a key, for one place.
func Encrypt(key []byte, place Place, content []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, content, place), nil
}

// Decrypt opens what Encrypt sealed.
func Decrypt(key []byte, place Place, sealed []byte) ([]byte, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < overhead {
		return nil, ErrSealed
	}
	content, err := aead.Open(nil, nil, sealed, place)
	if err != nil {
		return nil, ErrSealed
	}
	return content, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a key has %d bytes, this one has %d", KeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	// Nonces are drawn by the module itself, as FIPS 140-3 asks.
	return cipher.NewGCMWithRandomNonce(block)
}
