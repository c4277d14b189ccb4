package audit

import (
	"crypto/ed25519"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// maxKeys that a site ever had.
const maxKeys = 4096

// Keys sign checkpoints of a site.
type Keys struct {
	// Site is the site's name.
	Site      string
	verifiers []note.Verifier
}

// KeysOf walks the chain of trust from the site ID and returns all keys that
// ever signed: what a voter signed stays signed when the voter is gone.
func KeysOf(siteID string, chain []*sitev1.TrustVersion) (Keys, error) {
	bundle, err := certs.VerifyTrust(siteID, chain)
	if err != nil {
		return Keys{}, err
	}
	keys := Keys{Site: bundle.Site()}
	known := map[string]bool{}
	for _, version := range chain {
		body := &sitev1.TrustBody{}
		if err := proto.Unmarshal(version.GetBody(), body); err != nil {
			return Keys{}, err
		}
		for _, key := range body.GetAuditKeys() {
			id := key.GetNode() + "\x00" + string(key.GetKey())
			if known[id] {
				continue
			}
			if len(known) == maxKeys || len(key.GetKey()) != ed25519.PublicKeySize {
				return Keys{}, fmt.Errorf("trust version %d: more than %d audit keys, or one that is no Ed25519 key", body.GetVersion(), maxKeys)
			}
			known[id] = true
			verifier, err := verifierOf(KeyName(keys.Site, key.GetNode()), key.GetKey())
			if err != nil {
				return Keys{}, fmt.Errorf("the audit key of %s: %w", key.GetNode(), err)
			}
			keys.verifiers = append(keys.verifiers, verifier)
		}
	}
	return keys, nil
}

// OneKey trusts one key, in the form that signed notes have (`name+hash+key`).
func OneKey(text string) (Keys, error) {
	verifier, err := note.NewVerifier(text)
	if err != nil {
		return Keys{}, fmt.Errorf("%.80q is no verifier key: %w", text, err)
	}
	return Keys{verifiers: []note.Verifier{verifier}}, nil
}

// VerifierKey is the text of a voter's public key for OneKey.
func VerifierKey(site, node string, public ed25519.PublicKey) (string, error) {
	return note.NewEd25519VerifierKey(KeyName(site, node), public)
}

// Has tells whether a node's key is among them.
func (k Keys) Has(node string, public ed25519.PublicKey) bool {
	verifier, err := verifierOf(KeyName(k.Site, node), public)
	if err != nil {
		return false
	}
	for _, known := range k.verifiers {
		if known.Name() == verifier.Name() && known.KeyHash() == verifier.KeyHash() {
			return true
		}
	}
	return false
}

// Signed tells whether one of a node's keys has signed a message.
func (k Keys) Signed(node string, message, signature []byte) bool {
	for _, known := range k.verifiers {
		if known.Name() == KeyName(k.Site, node) && known.Verify(message, signature) {
			return true
		}
	}
	return false
}
