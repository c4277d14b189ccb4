package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// auditKeyFile holds the key with which a voter signs checkpoints of the audit
// log.
const auditKeyFile = "audit-key.pem"

// AuditKey returns the audit key of the node whose identity is in dir. It is
// made when there is none; the site then adds it to the chain of trust.
func AuditKey(files env.FS, rand env.Rand, dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, auditKeyFile)
	encoded, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newAuditKey(files, rand, path)
	}
	var key ed25519.PrivateKey
	if err == nil {
		key, err = parseAuditKey(encoded)
	}
	if err != nil {
		return nil, problem.New(problem.Internal, path, "the key that signs the audit log cannot be read: %w", err).
			WithHint("restore it from a backup, or move the file away and start the agent again")
	}
	return key, nil
}

func parseAuditKey(encoded []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(encoded)
	if block == nil || block.Type != keyBlock {
		return nil, errors.New("it holds no private key")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T, not an Ed25519 key", parsed)
	}
	return key, nil
}

func newAuditKey(files env.FS, rand env.Rand, path string) (ed25519.PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err == nil {
		err = files.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), filePerm)
	}
	if err != nil {
		return nil, problem.New(problem.Internal, path, "the key that signs the audit log cannot be kept: %w", err)
	}
	return key, nil
}
