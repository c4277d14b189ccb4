package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
)

// maxRequest bounds a certificate request in bytes.
const maxRequest = 4096

// NewJoinRequest proves possession of a key (PKCS #10, DER). It names nobody:
// who the joiner is, the token decides.
func NewJoinRequest(rand io.Reader, key *ecdsa.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand, &x509.CertificateRequest{SignatureAlgorithm: x509.ECDSAWithSHA256}, key)
}

// CheckJoinRequest returns the public key of a request whose signature is
// right.
func CheckJoinRequest(der []byte) (any, error) {
	if len(der) > maxRequest {
		return nil, fmt.Errorf("it is larger than %d bytes", maxRequest)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	if key, ok := request.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("its key is not an ECDSA key on P-256")
	}
	return request.PublicKey, request.CheckSignature()
}
