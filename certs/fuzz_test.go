package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// Whatever is shown as a certificate request: it is refused, or its key is of
// the one kind that a site certifies.
func FuzzCheckJoinRequest(f *testing.F) {
	key := fuzzKey(f)
	request, err := NewJoinRequest(env.NewSystem().Rand, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Add(request[:len(request)/2])
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := CheckJoinRequest(der)
		if err == nil && len(Fingerprint(key)) != 32 {
			t.Error("a key without a fingerprint was taken")
		}
	})
}

// Whatever is shown as a chain of trust: only the chain that begins with the
// site's first version is believed.
func FuzzVerifyTrust(f *testing.F) {
	authority, err := NewAuthority(env.NewSystem().Rand, "harbour", "n1", time.Unix(1e9, 0))
	if err != nil {
		f.Fatal(err)
	}
	first, err := FirstTrust("harbour", authority)
	if err != nil {
		f.Fatal(err)
	}
	second, err := ExtendTrust(first, authority, TrustChange{})
	if err != nil {
		f.Fatal(err)
	}
	siteID := SiteID(first)
	encoded, err := proto.Marshal(&sitev1.TrustResponse{Versions: []*sitev1.TrustVersion{first, second}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encoded)
	f.Fuzz(func(t *testing.T, data []byte) {
		var shown sitev1.TrustResponse
		if proto.Unmarshal(data, &shown) != nil {
			return
		}
		bundle, err := VerifyTrust(siteID, shown.GetVersions())
		if err != nil {
			return
		}
		if !bytes.Equal(shown.GetVersions()[0].GetBody(), first.GetBody()) || !bundle.Has(authority.Certificate()) {
			t.Error("a chain of somebody else's making was believed")
		}
	})
}

// Whatever is shown as a certificate: without the site's CA nobody gets in.
func FuzzVerifyPeer(f *testing.F) {
	authority, err := NewAuthority(env.NewSystem().Rand, "harbour", "n1", time.Unix(1e9, 0))
	if err != nil {
		f.Fatal(err)
	}
	first, err := FirstTrust("harbour", authority)
	if err != nil {
		f.Fatal(err)
	}
	bundle, err := VerifyTrust(SiteID(first), []*sitev1.TrustVersion{first})
	if err != nil {
		f.Fatal(err)
	}
	leaf, err := authority.IssueOperator("admin", fuzzKey(f).Public(), time.Unix(1e9, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(leaf)
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		peer, err := VerifyPeer([]*x509.Certificate{cert}, bundle, time.Unix(1e9, 0))
		if err == nil && (!bytes.Equal(der, leaf) || peer.Name != "admin") {
			t.Errorf("%s got in", peer.ID)
		}
	})
}

func fuzzKey(f *testing.F) *ecdsa.PrivateKey {
	f.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	return key
}
