package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"skerry.dev/certs"
)

// A node's CAs: the first is two files (authority-key.pem, authority.pem), the
// one of each rotation after it is one file with both, so that it is written
// whole. These functions are the only ones that touch a CA's key on the disk:
// whoever wants it sealed there does it here.
const (
	authorityPrefix = "authority-"
	authoritySuffix = ".pem"
	// keptAuthorities: the newest and the one before it, which signs and issues
	// until the newest counts.
	keptAuthorities = 2
)

// generations are the CAs of later rotations on the disk, or what else has a file
// for each, newest first.
func (n *Node) generations(prefix string) ([]uint64, error) {
	names, err := n.fs.ReadDir(n.dir)
	if err != nil {
		return nil, err
	}
	var found []uint64
	for _, name := range names {
		number, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if generation, err := strconv.ParseUint(strings.TrimSuffix(number, authoritySuffix), 10, 64); err == nil {
			found = append(found, generation)
		}
	}
	slices.Sort(found)
	slices.Reverse(found)
	return found, nil
}

func (n *Node) authorityFile(generation uint64) string {
	return filepath.Join(n.dir, authorityPrefix+strconv.FormatUint(generation, 10)+authoritySuffix)
}

// loadRotated reads the CAs of rotations; that of the beginning is read
// already.
func (n *Node) loadRotated() error {
	found, err := n.generations(authorityPrefix)
	if err != nil || len(found) == 0 {
		return err
	}
	var loaded []*certs.Authority
	for _, generation := range found[:min(len(found), keptAuthorities)] {
		authority, err := n.readAuthority(n.authorityFile(generation))
		if err != nil {
			return err
		}
		loaded = append(loaded, authority)
	}
	n.generation, n.previous = found[0], n.authority
	n.authority = loaded[0]
	if len(loaded) > 1 {
		n.previous = loaded[1]
	}
	return nil
}

func (n *Node) readAuthority(name string) (*certs.Authority, error) {
	encoded, err := n.fs.ReadFile(name)
	if err != nil {
		return nil, err
	}
	certBlock, rest := pem.Decode(encoded)
	keyBlock, _ := pem.Decode(rest)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s holds no CA", name)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New(name + ": the key is not an ECDSA key")
	}
	return certs.LoadAuthority(n.rand, key, certBlock.Bytes)
}

func (n *Node) writeAuthority(generation uint64, authority *certs.Authority) error {
	der, err := x509.MarshalPKCS8PrivateKey(authority.Key())
	if err != nil {
		return err
	}
	var file bytes.Buffer
	file.Write(encodeCerts(authority.Certificate().Raw))
	file.Write(pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}))
	return n.fs.WriteFile(n.authorityFile(generation), file.Bytes(), filePerm)
}

// Authority is the CA with which this node signs: its newest one that counts,
// or else its newest one; nil when it has none.
func (n *Node) Authority() *certs.Authority {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.previous != nil && !n.bundle.Has(n.authority.Certificate()) && n.bundle.Has(n.previous.Certificate()) {
		return n.previous
	}
	return n.authority
}

// NewestAuthority is the CA that this node made last, and for which rotation;
// nil when it has none.
func (n *Node) NewestAuthority() (authority *certs.Authority, generation uint64) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.authority, n.generation
}

// RotateAuthority makes a CA for a rotation, and a key that signs JWT-SVIDs,
// unless there is one already. The CA
// before goes on until the new one counts. It lives as long as is said; 0 for
// the default.
func (n *Node) RotateAuthority(generation uint64, lifetime time.Duration) error {
	if n.record.GetWitness() {
		return nil
	}
	if lifetime == 0 {
		lifetime = certs.AuthorityLifetime
	}
	n.writing.Lock()
	defer n.writing.Unlock()
	if n.authority != nil && n.generation >= generation {
		return n.ensureJwtKey()
	}
	authority, err := certs.NewAuthorityFor(n.rand, n.bundle.Site(), n.record.GetName(), n.authorityBegins(), lifetime)
	if err != nil {
		return err
	}
	if err := n.writeAuthority(generation, authority); err != nil {
		return err
	}
	n.mu.Lock()
	if n.authority != nil && (n.previous == nil || n.bundle.Has(n.authority.Certificate())) {
		n.previous = n.authority
	}
	n.authority, n.generation = authority, generation
	n.mu.Unlock()
	return errors.Join(n.forgetAuthorities(), n.ensureJwtKey())
}

// forgetAuthorities removes those that are not used any more from the disk.
func (n *Node) forgetAuthorities() error {
	found, err := n.generations(authorityPrefix)
	if err != nil || len(found) <= keptAuthorities {
		return err
	}
	for _, generation := range found[keptAuthorities:] {
		if err := n.fs.Remove(n.authorityFile(generation)); err != nil {
			return err
		}
	}
	return nil
}

// Issuer is the SHA-256 of the certificate of the CA that issued the node's SVID;
// nil when the chain of trust does not know it any more.
func (n *Node) Issuer() []byte {
	n.mu.RLock()
	defer n.mu.RUnlock()
	authority := issuerOf(n.cert.Leaf, n.bundle)
	if authority == nil {
		return nil
	}
	sum := sha256.Sum256(authority.Raw)
	return sum[:]
}

// issuerOf is the CA of the bundle that issued leaf; nil when none did.
func issuerOf(leaf *x509.Certificate, bundle *certs.Bundle) *x509.Certificate {
	for _, authority := range bundle.Authorities() {
		if leaf.CheckSignatureFrom(authority) == nil {
			return authority
		}
	}
	return nil
}
