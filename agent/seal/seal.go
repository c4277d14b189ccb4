// Package seal keeps secrets of this node's work on its disk: encrypted under a
// key that is the node's own, so that a copy of the files alone is worth
// nothing, and given back at boot with nobody else in reach (SAFETY, rule 20).
//
// It knows nothing of what it seals. Whoever keeps the key somewhere safer than
// in a file, such as a TPM, gives it to New.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// KeySize of a node's sealing key, for AES-256.
	KeySize = 32
	// version is the first byte of all that is sealed.
	version = 1
	// MaxSize of what is sealed at once, in bytes.
	MaxSize = 16 << 20

	keyFile = "seal.key"
)

// errOpened is one for all reasons: who tampers learns nothing.
var errOpened = errors.New("it does not open with this node's sealing key: it is damaged, of another node, or in another's place")

// Sealer seals and opens. It is safe for concurrent use.
type Sealer struct{ aead cipher.AEAD }

// New returns a sealer for a key of KeySize bytes.
func New(key []byte) (*Sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("a sealing key has %d bytes, this one has %d", KeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead: aead}, nil
}

// Open returns the sealer of the node whose identity is in dir. The key is in a
// file of its own, 0600, made when there is none.
func Open(files env.FS, rand env.Rand, dir string) (*Sealer, error) {
	path := filepath.Join(dir, keyFile)
	key, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, KeySize)
		if _, err = rand.Read(key); err == nil {
			err = files.WriteFile(path, key, 0o600)
		}
	}
	if err != nil {
		return nil, problem.New(problem.Internal, path, "the node's sealing key cannot be read or made: %w", err)
	}
	sealer, err := New(key)
	if err != nil {
		return nil, problem.New(problem.Internal, path, "it is not a sealing key: %w", err).
			WithHint("move the file away and start the agent again: what it sealed is asked of the site anew")
	}
	return sealer, nil
}

// Seal encrypts plain. It opens only under the same name, so that what is
// sealed cannot be put in another's place.
func (s *Sealer) Seal(name string, plain []byte) ([]byte, error) {
	if len(plain) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than %d, which can be sealed at once", len(plain), MaxSize)
	}
	return s.aead.Seal([]byte{version}, nil, plain, []byte(name)), nil
}

// Open decrypts what was sealed under name. What was changed in any bit, cut
// short, moved or sealed by another node gives an error.
func (s *Sealer) Open(name string, sealed []byte) ([]byte, error) {
	if len(sealed) < 1+s.aead.Overhead() || len(sealed) > 1+s.aead.Overhead()+MaxSize {
		return nil, errOpened
	}
	if sealed[0] != version {
		return nil, fmt.Errorf("it is sealed in a way that this version does not know (%d)", sealed[0])
	}
	plain, err := s.aead.Open(nil, nil, sealed[1:], []byte(name))
	if err != nil {
		return nil, errOpened
	}
	return plain, nil
}
