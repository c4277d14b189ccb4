package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// Visitor is who this machine will be to the nodes of a site when it has been
// restored here: the CA in the backup vouches for it. It asks them beforehand, and is
// nowhere but in memory. It implements mtls.Learner: CAs of theirs may be newer than
// the backup.
type Visitor struct {
	cert tls.Certificate
	now  time.Time

	mu     sync.Mutex
	chain  []*sitev1.TrustVersion
	bundle *certs.Bundle
}

// NewVisitor takes of the options what was in the backup, and the node.
func NewVisitor(system env.System, options RestoreOptions) (*Visitor, error) {
	r, err := openRestoring(system, options)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), system.Rand)
	if err != nil {
		return nil, err
	}
	svid, err := r.issue(key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(svid)
	if err != nil {
		return nil, err
	}
	return &Visitor{
		cert: tls.Certificate{Certificate: [][]byte{svid}, PrivateKey: key, Leaf: leaf},
		now:  r.now, chain: options.State.GetTrust(), bundle: r.bundle,
	}, nil
}

// Certificate implements mtls.Source.
func (v *Visitor) Certificate() *tls.Certificate { return &v.cert }

// Bundle implements mtls.Source.
func (v *Visitor) Bundle() *certs.Bundle {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bundle
}

// Now implements mtls.Source: the time of the backup.
func (v *Visitor) Now() time.Time { return v.now }

// UpdateTrust implements mtls.Learner.
func (v *Visitor) UpdateTrust(part []*sitev1.TrustVersion) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	chain, bundle, err := v.bundle.Continue(v.chain, part)
	if err == nil {
		v.chain, v.bundle = chain, bundle
	}
	return err
}
