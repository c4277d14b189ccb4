package identity

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

const (
	keyBlock  = "PRIVATE KEY"
	certBlock = "CERTIFICATE"
)

// storeCredentials writes key, SVID and trust, in an order in which a crash
// leaves nothing that looks complete.
func storeCredentials(files env.FS, dir string, key *ecdsa.PrivateKey, svid [][]byte, chain []*sitev1.TrustVersion, bundle *certs.Bundle) error {
	if err := files.MkdirAll(dir, dirPerm); err != nil {
		return err
	}
	if err := writeKey(files, filepath.Join(dir, keyFile), key); err != nil {
		return err
	}
	if err := storeTrust(files, dir, chain, bundle); err != nil {
		return err
	}
	return files.WriteFile(filepath.Join(dir, svidFile), encodeCerts(svid...), filePerm)
}

func storeTrust(files env.FS, dir string, chain []*sitev1.TrustVersion, bundle *certs.Bundle) error {
	encoded, err := proto.Marshal(&sitev1.TrustResponse{Versions: chain})
	if err != nil {
		return err
	}
	if err := files.WriteFile(filepath.Join(dir, trustFile), encoded, filePerm); err != nil {
		return err
	}
	var ders [][]byte
	for _, authority := range bundle.Authorities() {
		ders = append(ders, authority.Raw)
	}
	return files.WriteFile(filepath.Join(dir, caFile), encodeCerts(ders...), filePerm)
}

func loadCredentials(files env.FS, dir string) (tls.Certificate, []*sitev1.TrustVersion, *certs.Bundle, error) {
	fail := func(err error) (tls.Certificate, []*sitev1.TrustVersion, *certs.Bundle, error) {
		return tls.Certificate{}, nil, nil, err
	}
	key, err := readKey(files, filepath.Join(dir, keyFile))
	if err != nil {
		return fail(err)
	}
	encoded, err := files.ReadFile(filepath.Join(dir, svidFile))
	if err != nil {
		return fail(err)
	}
	ders, err := decodeCerts(encoded)
	if err != nil {
		return fail(fmt.Errorf("%s: %w", svidFile, err))
	}
	leaf, err := x509.ParseCertificate(ders[0])
	if err != nil {
		return fail(err)
	}
	if encoded, err = files.ReadFile(filepath.Join(dir, trustFile)); err != nil {
		return fail(err)
	}
	trust := &sitev1.TrustResponse{}
	if err := proto.Unmarshal(encoded, trust); err != nil {
		return fail(fmt.Errorf("%s: %w", trustFile, err))
	}
	if len(trust.GetVersions()) == 0 {
		return fail(fmt.Errorf("%s is empty", trustFile))
	}
	bundle, err := certs.VerifyTrust(certs.SiteID(trust.GetVersions()[0]), trust.GetVersions())
	if err != nil {
		return fail(err)
	}
	return tls.Certificate{Certificate: ders, PrivateKey: key, Leaf: leaf}, trust.GetVersions(), bundle, nil
}

func writeKey(files env.FS, name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return files.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der}), filePerm)
}

func readKey(files env.FS, name string) (*ecdsa.PrivateKey, error) {
	encoded, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(encoded)
	if block == nil || block.Type != keyBlock {
		return nil, fmt.Errorf("%s holds no private key", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	typed, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: the key is not an ECDSA key", name)
	}
	return typed, nil
}

func encodeCerts(ders ...[]byte) []byte {
	var out []byte
	for _, der := range ders {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: der})...)
	}
	return out
}

func decodeCerts(encoded []byte) ([][]byte, error) {
	var ders [][]byte
	for {
		block, rest := pem.Decode(encoded)
		if block == nil {
			break
		}
		if block.Type != certBlock {
			return nil, fmt.Errorf("unexpected PEM block %q", block.Type)
		}
		ders = append(ders, block.Bytes)
		encoded = rest
	}
	if len(ders) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return ders, nil
}

func parseLeaf(ders [][]byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	for _, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	return chain, nil
}
