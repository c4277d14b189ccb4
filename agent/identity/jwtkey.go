package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"path/filepath"
	"strconv"
	"time"

	"skerry.dev/certs"
)

// jwtPrefix of the files that hold the keys with which a voter signs JWT-SVIDs,
// one for each rotation of the CAs.
const jwtPrefix = "jwt-key-"

// jwtPublished is how long the site has known a key before it signs, so that
// everybody who validates has it by then.
const jwtPublished = 30 * time.Second

// jwtKeys are those of this node: the newest, for a rotation, and the one before
// it, which signs until the newest counts. Each may be nil.
type jwtKeys struct {
	newest, previous *certs.JwtSigner
	generation       uint64
}

func (n *Node) jwtFile(generation uint64) string {
	return filepath.Join(n.dir, jwtPrefix+strconv.FormatUint(generation, 10)+authoritySuffix)
}

// loadJwtKeys reads them. One that cannot be read is made anew: nothing is lost
// with it.
func (n *Node) loadJwtKeys() error {
	found, err := n.generations(jwtPrefix)
	if err != nil {
		return err
	}
	var loaded []*certs.JwtSigner
	for _, generation := range found {
		signer, err := n.readJwtKey(generation)
		if err != nil {
			continue
		}
		if len(loaded) == 0 {
			n.jwt.generation = generation
		}
		loaded = append(loaded, signer)
	}
	if len(loaded) > 0 {
		n.jwt.newest = loaded[0]
	}
	if len(loaded) > 1 {
		n.jwt.previous = loaded[1]
	}
	return nil
}

func (n *Node) readJwtKey(generation uint64) (*certs.JwtSigner, error) {
	key, err := readKey(n.fs, n.jwtFile(generation))
	if err != nil {
		return nil, err
	}
	return certs.NewJwtSigner(key)
}

// ensureJwtKey makes one for the rotation of this node's CA. n.writing is held.
func (n *Node) ensureJwtKey() error {
	if n.jwt.newest != nil && n.jwt.generation >= n.generation {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), n.rand)
	if err != nil {
		return err
	}
	signer, err := certs.NewJwtSigner(key)
	if err != nil {
		return err
	}
	if err := writeKey(n.fs, n.jwtFile(n.generation), key); err != nil {
		return err
	}
	n.mu.Lock()
	if n.jwt.newest != nil && n.bundle.JwtKey(certs.JwtKeyID(n.jwt.newest.Public())) != nil {
		n.jwt.previous = n.jwt.newest
	}
	n.jwt.newest, n.jwt.generation = signer, n.generation
	n.mu.Unlock()
	return n.forgetJwtKeys()
}

// forgetJwtKeys removes those that are not used any more from the disk.
func (n *Node) forgetJwtKeys() error {
	found, err := n.generations(jwtPrefix)
	if err != nil || len(found) <= keptAuthorities {
		return err
	}
	for _, generation := range found[keptAuthorities:] {
		if err := n.fs.Remove(n.jwtFile(generation)); err != nil {
			return err
		}
	}
	return nil
}

// NewestJwtKey is the public key (DER) that this node made last to sign
// JWT-SVIDs; nil when it has none.
func (n *Node) NewestJwtKey() []byte {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.jwt.newest == nil {
		return nil
	}
	return n.jwt.newest.Public()
}

// JwtSigner signs JWT-SVIDs with the newest key of this node that a bundle names,
// or with the one before while the newest has just come; nil when none counts.
func (n *Node) JwtSigner(bundle *certs.Bundle) *certs.JwtSigner {
	now := n.Now()
	n.mu.RLock()
	defer n.mu.RUnlock()
	var counts *certs.JwtSigner
	for _, signer := range []*certs.JwtSigner{n.jwt.newest, n.jwt.previous} {
		if signer == nil {
			continue
		}
		known := bundle.JwtKey(certs.JwtKeyID(signer.Public()))
		if known == nil {
			continue
		}
		counts = signer
		if age := now.Sub(known.GetAdded().AsTime()); age < 0 || age >= jwtPublished {
			return signer
		}
	}
	return counts
}
