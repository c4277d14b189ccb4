package backup

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

const (
	formName = "skerry backup "
	form     = formName + "1\n"
	// partSize of the content, in bytes.
	partSize = 64 << 10
	// overhead of a sealed part; one of nothing has this size.
	overhead = 28
	// maxHeader holds the longest chain of trust.
	maxHeader = 64 << 20
	maxSeal   = 1 << 10
)

// Purposes of what is sealed; they are part of its place.
const (
	keyPurpose  = "skerry backup key v1"
	partPurpose = "skerry backup part v1"
	endPurpose  = "skerry backup end v1"
	signPurpose = "skerry backup v1\x00"
)

func keyPlace(header *sitev1.BackupHeader, name string) envelope.Place {
	return envelope.At(keyPurpose, header.GetSiteId(), header.GetIndex(), name)
}

// Write a backup that the recovery keys open, signed by the audit key of the
// node that the header names.
func Write(w io.Writer, header *sitev1.BackupHeader, content *sitev1.BackupContent, recovery []*sitev1.RecoveryKey,
	signer ed25519.PrivateKey, rand env.Rand) error {
	if len(recovery) == 0 {
		return problem.New(problem.Conflict, "backup", "the site has no recovery key: nobody could open it").
			WithHint("make two, and keep them apart from the site: skerry secret recovery-key create NAME --out FILE")
	}
	key, err := envelope.NewKey(rand)
	if err != nil {
		return err
	}
	for _, r := range recovery {
		sealed, err := envelope.SealTo(r.GetPublicKey(), keyPlace(header, r.GetName()), key)
		if err != nil {
			return problem.New(problem.Internal, "recovery key "+r.GetName(), "%w", err)
		}
		header.Recipients = append(header.Recipients, &sitev1.BackupRecipient{Name: r.GetName(), PublicKey: r.GetPublicKey(), Sealed: sealed})
	}
	out := &writer{to: w, hash: sha256.New()}
	out.write([]byte(form))
	encoded := out.message(header)
	bound := sha256.Sum256(encoded)
	out.content(key, bound[:], content)
	digest := out.hash.Sum(nil)
	out.message(&sitev1.BackupSeal{Digest: digest, Signature: ed25519.Sign(signer, signed(digest))})
	return out.err
}

// writer keeps the first error and the digest of what was written.
type writer struct {
	to   io.Writer
	hash hash.Hash
	err  error
}

// signed is what the audit key signs.
func signed(digest []byte) []byte { return append([]byte(signPurpose), digest...) }

func (w *writer) write(p []byte) {
	if w.err != nil {
		return
	}
	w.hash.Write(p) // it never fails
	_, w.err = w.to.Write(p)
}

// framed writes p behind its length.
func (w *writer) framed(p []byte) {
	w.write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
	w.write(p)
}

func (w *writer) message(m proto.Message) []byte {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.framed(encoded)
	return encoded
}

func (w *writer) content(key, bound []byte, content *sitev1.BackupContent) {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	if err != nil && w.err == nil {
		w.err = err
	}
	number := uint64(0)
	for ; len(encoded) > 0 && w.err == nil; number++ {
		part := encoded[:min(partSize, len(encoded))]
		encoded = encoded[len(part):]
		w.part(key, envelope.At(partPurpose, string(bound), number), part)
	}
	w.part(key, envelope.At(endPurpose, string(bound), number), nil)
}

func (w *writer) part(key []byte, place envelope.Place, part []byte) {
	sealed, err := envelope.Encrypt(key, place, part)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.framed(sealed)
}
