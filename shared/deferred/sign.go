package deferred

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"io"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// MaxChange bounds an encoded change, in bytes.
	MaxChange = 256 << 10
	// maxProof bounds a public key, and a signature.
	maxProof = 512
	// domain keeps signatures of this kind apart from all others by the same key.
	domain = "skerry deferred change 1\x00"
)

// Sign a change with the operator's key.
func Sign(key crypto.Signer, random io.Reader, change *skerryv1.DeferredChange) (*skerryv1.SignedChange, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	encoded, err := proto.Marshal(change)
	if err != nil {
		return nil, err
	}
	if len(encoded) > MaxChange {
		return nil, tooLong(len(encoded))
	}
	signature, err := key.Sign(random, digest(encoded), crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return &skerryv1.SignedChange{Change: encoded, PublicKey: public, Signature: signature}, nil
}

// Open returns the change and the SHA-256 of the key that signed it: of whom that
// key is, the caller must know.
func Open(signed *skerryv1.SignedChange) (*skerryv1.DeferredChange, []byte, error) {
	if len(signed.GetChange()) > MaxChange {
		return nil, nil, tooLong(len(signed.GetChange()))
	}
	if len(signed.GetPublicKey()) > maxProof || len(signed.GetSignature()) > maxProof {
		return nil, nil, unsigned()
	}
	parsed, err := x509.ParsePKIXPublicKey(signed.GetPublicKey())
	key, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || !ecdsa.VerifyASN1(key, digest(signed.GetChange()), signed.GetSignature()) {
		return nil, nil, unsigned()
	}
	change := &skerryv1.DeferredChange{}
	if err := proto.Unmarshal(signed.GetChange(), change); err != nil {
		return nil, nil, problem.New(problem.Invalid, "change", "it does not parse")
	}
	fingerprint := sha256.Sum256(signed.GetPublicKey())
	return change, fingerprint[:], check(change)
}

func digest(encoded []byte) []byte {
	sum := sha256.Sum256(append([]byte(domain), encoded...))
	return sum[:]
}

func unsigned() error {
	return problem.New(problem.Unauthenticated, "change", "it is not signed by the key that it names")
}

func tooLong(size int) error {
	return problem.New(problem.Invalid, "change", "it has %d bytes, at most %d can be queued", size, MaxChange).
		WithHint("queue it in several changes")
}
