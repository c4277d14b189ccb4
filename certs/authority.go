package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"regexp"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Authority is one CA of a site: the key of one voter and its certificate. Its
// private key never leaves the voter's disk.
type Authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	rand io.Reader
}

// NewAuthority makes a CA for a site; name tells people whose it is.
func NewAuthority(rand io.Reader, site, name string, now time.Time) (*Authority, error) {
	return NewAuthorityFor(rand, site, name, now, AuthorityLifetime)
}

// NewAuthorityFor makes a CA that lives as long as is said.
func NewAuthorityFor(rand io.Reader, site, name string, now time.Time, lifetime time.Duration) (*Authority, error) {
	domain, err := siteDomain(site)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand)
	if err != nil {
		return nil, err
	}
	template, err := baseTemplate(rand, name+" CA of "+site, domain.ID().URL(), now, lifetime)
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return LoadAuthority(rand, key, der)
}

// LoadAuthority puts an authority together from its key and its certificate.
func LoadAuthority(rand io.Reader, key *ecdsa.PrivateKey, der []byte) (*Authority, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("the CA certificate does not parse: %w", err)
	}
	if err := checkAuthority(cert); err != nil {
		return nil, err
	}
	if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(key.Public()) {
		return nil, errors.New("the CA certificate belongs to another key")
	}
	return &Authority{key: key, cert: cert, rand: rand}, nil
}

// checkAuthority refuses a certificate that cannot be a CA of a site.
func checkAuthority(cert *x509.Certificate) error {
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	switch {
	case !cert.IsCA || !cert.BasicConstraintsValid:
		return fmt.Errorf("%s is not a CA", cert.Subject.CommonName)
	case !ok || key.Curve != elliptic.P256():
		return fmt.Errorf("the key of %s is not an ECDSA key on P-256", cert.Subject.CommonName)
	case len(cert.URIs) != 1:
		return fmt.Errorf("%s has %d SPIFFE IDs, must be one", cert.Subject.CommonName, len(cert.URIs))
	}
	return nil
}

// Certificate of the authority.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Key of the authority, to be written to its voter's disk and nowhere else.
func (a *Authority) Key() *ecdsa.PrivateKey { return a.key }

// NodeRequest is what goes into a node's SVID.
type NodeRequest struct {
	Name      string
	PublicKey any
	// Addresses, host:port or host, become DNS and IP SANs so that curl can
	// check them; hosts that fit neither are left out. Identity never reads
	// those.
	Addresses []string
	// Lifetime of the SVID; NodeLifetime if it is not given.
	Lifetime time.Duration
}

// hostName is what may be a DNS SAN.
var hostName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?$`)

// IssueNode issues the SVID of a node and returns it in DER.
func (a *Authority) IssueNode(req NodeRequest, now time.Time) ([]byte, error) {
	lifetime := req.Lifetime
	if lifetime == 0 {
		lifetime = NodeLifetime
	}
	template, err := a.leaf(RoleNode, req.Name, now, lifetime)
	if err != nil {
		return nil, err
	}
	template.DNSNames = []string{req.Name, "localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, address := range req.Addresses {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		switch ip := net.ParseIP(host); {
		case ip != nil:
			template.IPAddresses = append(template.IPAddresses, ip)
		case hostName.MatchString(host):
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return x509.CreateCertificate(a.rand, template, a.cert, req.PublicKey, a.key)
}

// IssueOperator issues the SVID of an operator and returns it in DER.
func (a *Authority) IssueOperator(name string, publicKey any, now time.Time) ([]byte, error) {
	return a.IssueOperatorFor(name, publicKey, now, OperatorLifetime)
}

// IssueOperatorFor issues an SVID that lives as long as is said.
func (a *Authority) IssueOperatorFor(name string, publicKey any, now time.Time, lifetime time.Duration) ([]byte, error) {
	template, err := a.leaf(RoleOperator, name, now, lifetime)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(a.rand, template, a.cert, publicKey, a.key)
}

// IssueWorkload issues the SVID of one placement of a workload and returns it
// in DER. All placements of a workload have the same SPIFFE ID, each a key of
// its own. It names the node that runs it by the fingerprint of that one's key,
// host: when the site revokes that key it takes this SVID no more.
func (a *Authority) IssueWorkload(project, workload string, host []byte, publicKey any, now time.Time, lifetime time.Duration) ([]byte, error) {
	template, err := a.leaf(RoleWorkload, project+"/"+workload, now, lifetime)
	if err != nil {
		return nil, err
	}
	template.Subject.CommonName = workload // both together may be longer than a name may be
	template.Subject.SerialNumber = hex.EncodeToString(host)
	return x509.CreateCertificate(a.rand, template, a.cert, publicKey, a.key)
}

// leaf follows the X.509-SVID specification, sections 2 to 4: one URI SAN, no
// CA bit, digitalSignature, no certificate or CRL signing.
func (a *Authority) leaf(role Role, name string, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	domain, err := spiffeid.TrustDomainFromURI(a.cert.URIs[0])
	if err != nil {
		return nil, err
	}
	id, err := spiffeid.FromPath(domain, "/"+string(role)+"/"+name)
	if err != nil {
		return nil, fmt.Errorf("%q cannot be part of a SPIFFE ID: %w", name, err)
	}
	if peer, err := peerOf(id); err != nil || peer.Role != role || peer.Name != name {
		return nil, fmt.Errorf("%q cannot be the name of a %s", name, role)
	}
	if begin := a.cert.NotBefore.Add(backdate); now.Before(begin) {
		now = begin // a clock that fell back to 1970 must not issue what expired long ago
	}
	template, err := baseTemplate(a.rand, name, id.URL(), now, lifetime)
	if err != nil {
		return nil, err
	}
	if !now.Before(a.cert.NotAfter) {
		return nil, fmt.Errorf("the CA %s %w on %s", a.cert.Subject.CommonName, ErrExpired, a.cert.NotAfter.Format(time.DateOnly))
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter // a leaf never outlives its CA
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return template, nil
}

func baseTemplate(rand io.Reader, commonName string, id *url.URL, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	if _, err := io.ReadFull(rand, serial); err != nil {
		return nil, err
	}
	serial[0] &= 0x7f // positive, at most 20 octets: RFC 5280, section 4.1.2.2
	return &x509.Certificate{
		SerialNumber:       new(big.Int).SetBytes(serial),
		Subject:            pkix.Name{Organization: []string{"Skerry"}, CommonName: commonName},
		NotBefore:          now.Add(-backdate),
		NotAfter:           now.Add(lifetime),
		URIs:               []*url.URL{id},
		SignatureAlgorithm: x509.ECDSAWithSHA256,
	}, nil
}

// Fingerprint is the SHA-256 of a public key's SubjectPublicKeyInfo; nil for a
// key of an unknown kind.
func Fingerprint(publicKey any) []byte {
	der, err := x509.MarshalPKIXPublicKey(publicKey)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(der)
	return sum[:]
}
