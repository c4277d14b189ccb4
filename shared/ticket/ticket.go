// Package ticket says which node may fetch which image from which other one, so
// that the other can judge it alone: a ticket is a MAC under a key that the
// source and the voters have, and nobody else.
//
// A source that is subverted can make tickets for itself alone, and has what
// they are for anyway. docs/decisions/0034 has the reasons.
package ticket

import (
	"crypto/hmac"
	"crypto/sha256"
	"slices"
)

const (
	// KeySize of the site's keys and of those of sources, in bytes.
	KeySize = 32
	// Size of a ticket in bytes.
	Size = 16
)

// SourceKey is what follows from one of the site's keys for one source, which is
// known by the SHA-256 of its public key. It tells nothing of other sources' keys.
func SourceKey(site, source []byte) []byte { return mac(site, "skerry image source", source) }

// For a node, known by the SHA-256 of its public key: it may have the image with
// this digest from the source with this key.
func For(sourceKey, node []byte, image string) []byte {
	return mac(sourceKey, "skerry image ticket", node, []byte(image))[:Size]
}

// Valid tells whether a ticket was made with one of the source's keys.
func Valid(sourceKeys [][]byte, node []byte, image string, shown []byte) bool {
	return len(node) == sha256.Size && slices.ContainsFunc(sourceKeys, func(key []byte) bool {
		return len(key) == KeySize && hmac.Equal(For(key, node, image), shown)
	})
}

// mac of parts of which only the last has no fixed length.
func mac(key []byte, purpose string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(purpose)) // never fails
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}
