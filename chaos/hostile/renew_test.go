package hostile

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// speaking one protocol with any certificate.
func speaking(protocol string, as tls.Certificate) *http2.Transport {
	return &http2.Transport{DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
		dialer := &tls.Dialer{Config: &tls.Config{
			MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{protocol}, Certificates: []tls.Certificate{as},
		}}
		return dialer.DialContext(ctx, network, address)
	}}
}

// renew calls on the ALPN for renewing, with any certificate.
func (s *site) renew(ctx context.Context, as tls.Certificate, request *sitev1.RenewRequest) (*sitev1.RenewResponse, error) {
	transport := speaking(mtls.Renew, as)
	defer transport.CloseIdleConnections()
	client := sitev1connect.NewRenewServiceClient(&http.Client{Transport: transport, Timeout: patience}, "https://"+s.address)
	got, err := client.Renew(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	return got.Msg, nil
}

// The endpoint for renewing consults neither dates nor chains: the key on
// record is all that counts, and only for the identity that it is on record for.
func TestNobodyRenewsAnIdentityThatIsNotTheirs(t *testing.T) {
	s := startSite(t)
	other, err := certs.NewAuthority(env.NewSystem().Rand, siteName, "other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	byOther := func(key crypto.Signer) func(*forged) {
		return func(f *forged) {
			f.issuer, f.issuerKey = other.Certificate(), other.Key()
			if key != nil {
				f.key = key
			}
		}
	}
	adminKey, nodeKey := s.admin.PrivateKey.(crypto.Signer), s.node.PrivateKey.(crypto.Signer)
	mine := newKey(t)
	for _, c := range []struct {
		name    string
		as      tls.Certificate
		request *sitev1.RenewRequest
		want    string
	}{
		{"with a key that is not on record", s.forge(t, adminID, byOther(nil)), nil, "with another key than"},
		{"for a name that nobody has", s.forge(t, "spiffe://"+siteName+"/operator/mallory", byOther(nil)), nil, "no record of it"},
		{"with an operator's key, for a node", s.forge(t, "spiffe://"+siteName+"/node/node-1", byOther(adminKey)), nil, "with another key than"},
		{"with a node's key, for an operator", s.forge(t, adminID, byOther(nodeKey)), nil, "with another key than"},
		{"for a workload", s.forge(t, "spiffe://"+siteName+"/workload/default/web", byOther(adminKey)), nil, "a connection was refused"},
		{"for an operator of another site", s.forge(t, "spiffe://elsewhere/operator/admin", byOther(adminKey)), nil, "it is of site elsewhere"},
		{"for two names at once", s.forge(t, adminID, func(f *forged) {
			f.key = adminKey
			f.template.URIs = append(f.template.URIs, parseURL(t, "spiffe://"+siteName+"/node/node-1"))
		}), nil, "not an X.509-SVID"},
		{"for a CA", s.forge(t, adminID, func(f *forged) {
			f.key, f.template.IsCA, f.template.BasicConstraintsValid = adminKey, true, true
		}), nil, "not an X.509-SVID"},
		{"with the request of another key", s.admin, &sitev1.RenewRequest{Csr: csr(t, mine, nil)}, "of another key than that of the connection"},
		{"without a request", s.admin, &sitev1.RenewRequest{}, "not usable"},
		{"with a truncated request", s.admin, &sitev1.RenewRequest{Csr: csr(t, adminKey, func(der []byte) []byte { return der[:len(der)/2] })}, "not usable"},
		{"with a request whose signature is wrong", s.admin, &sitev1.RenewRequest{Csr: csr(t, adminKey, flipLast)}, "not usable"},
		{"with a request of a hundred kilobytes", s.admin, &sitev1.RenewRequest{Csr: make([]byte, 100<<10)}, "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := c.request
			if request == nil {
				request = &sitev1.RenewRequest{Csr: csr(t, c.as.PrivateKey.(crypto.Signer), nil)}
			}
			s.judge(t, func(t *testing.T) {
				mark := s.log.size()
				got, err := s.renew(t.Context(), c.as, request)
				if err == nil {
					t.Fatalf("it got %d certificates", len(got.GetSvid()))
				}
				s.logged(t, mark, err.Error(), c.want)
			})
		})
	}
}

// What has expired is renewed, under the same name and for the same key only.
func TestWhatExpiredIsRenewedAsWhatItWas(t *testing.T) {
	s := startSite(t)
	key := s.admin.PrivateKey.(crypto.Signer)
	expired := s.forge(t, adminID, func(f *forged) {
		f.key = key
		f.template.NotBefore, f.template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
		f.template.DNSNames = []string{"n1.harbour"}
	})
	got, err := s.renew(t.Context(), expired, &sitev1.RenewRequest{Csr: csr(t, key, nil), Present: expired.Certificate[0]})
	if err != nil || len(got.GetSvid()) == 0 {
		t.Fatalf("%v %v", got, err)
	}
	leaf, err := x509.ParseCertificate(got.GetSvid()[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != adminID || len(leaf.DNSNames) > 0 || !leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
		t.Errorf("it became %v %v", leaf.URIs, leaf.DNSNames)
	}
}
