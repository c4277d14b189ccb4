package hostile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/env"
)

// forged is a certificate in the making: what the site's CA would have issued,
// had it not been asked for something it never issues.
type forged struct {
	template *x509.Certificate
	key      crypto.Signer
	// chain goes along with the leaf.
	chain [][]byte
	// issuer and issuerKey: the site's CA unless a case changes them.
	issuer    *x509.Certificate
	issuerKey crypto.Signer
}

// forge issues a certificate for an ID, changed by the case.
func (s *site) forge(t *testing.T, id string, change func(*forged)) tls.Certificate {
	t.Helper()
	f := &forged{
		template: &x509.Certificate{
			SerialNumber: big.NewInt(7),
			Subject:      pkix.Name{CommonName: "forged"},
			NotBefore:    time.Now().Add(-time.Hour),
			NotAfter:     time.Now().Add(time.Hour),
			KeyUsage:     x509.KeyUsageDigitalSignature,
			ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		},
		key: newKey(t), issuer: s.authority.Certificate(), issuerKey: s.caKey,
	}
	if id != "" {
		f.template.URIs = []*url.URL{parseURL(t, id)}
	}
	if change != nil {
		change(f)
	}
	der, err := x509.CreateCertificate(rand.Reader, f.template, f.issuer, f.key.Public(), f.issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, f.chain...), PrivateKey: f.key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parseURL(t *testing.T, text string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

const adminID = "spiffe://" + siteName + "/operator/admin"

// Certificates that a site never issues, shown by whoever got hold of its CA or
// made one of their own. What is refused in the handshake says so in the
// agent's log; what is refused later, in the answer.
func TestNobodyGetsInWithACertificateThatBreaksTheRules(t *testing.T) {
	s := startSite(t)
	otherAuthority, err := certs.NewAuthority(env.NewSystem().Rand, siteName, "other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		id     string
		change func(*forged)
		want   []string
	}{
		{"it expired", adminID, func(f *forged) {
			f.template.NotBefore, f.template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
		}, []string{"expired on"}},
		{"of the wrong trust domain", "spiffe://elsewhere/operator/admin", nil, []string{"it is of site elsewhere"}},
		{"with two URI SANs", adminID, func(f *forged) {
			f.template.URIs = append(f.template.URIs, parseURL(t, "spiffe://"+siteName+"/node/node-1"))
		}, []string{"not a valid X.509-SVID"}},
		{"with the same URI SAN twice", adminID, func(f *forged) {
			f.template.URIs = append(f.template.URIs, f.template.URIs[0])
		}, []string{"not a valid X.509-SVID"}},
		{"a leaf with CA:TRUE", adminID, func(f *forged) {
			f.template.IsCA, f.template.BasicConstraintsValid = true, true
		}, []string{"not a valid X.509-SVID"}},
		{"a leaf that may sign certificates", adminID, func(f *forged) {
			f.template.KeyUsage |= x509.KeyUsageCertSign
		}, []string{"not a valid X.509-SVID"}},
		{"a leaf that may sign revocation lists", adminID, func(f *forged) {
			f.template.KeyUsage |= x509.KeyUsageCRLSign
		}, []string{"not a valid X.509-SVID"}},
		{"with a DNS name only", "", func(f *forged) {
			f.template.DNSNames = []string{"admin." + siteName}
		}, []string{"not a valid X.509-SVID", "is of site"}},
		{"with no name at all", "", nil, []string{"not a valid X.509-SVID", "is of site"}},
		{"with an https URI", "https://" + siteName + "/operator/admin", nil, []string{"not a valid X.509-SVID"}},
		{"with the trust domain alone", "spiffe://" + siteName, nil, []string{"of no kind that this site issues"}},
		{"of no known role", "spiffe://" + siteName + "/admin/admin", nil, []string{"of no kind that this site issues"}},
		{"of an operator with a deeper path", adminID + "/more", nil, []string{"of no kind that this site issues"}},
		{"of an operator without a name", "spiffe://" + siteName + "/operator", nil, []string{"of no kind that this site issues"}},
		{"of a workload without a project", "spiffe://" + siteName + "/workload/web", nil, []string{"of no kind that this site issues"}},
		{"with a trailing slash", adminID + "/", nil, []string{"not a valid X.509-SVID"}},
		{"with an empty segment", "spiffe://" + siteName + "/operator//admin", nil, []string{"not a valid X.509-SVID"}},
		{"with dots for a segment", "spiffe://" + siteName + "/operator/../operator/admin", nil, []string{"not a valid X.509-SVID"}},
		{"with a query", adminID + "?x=1", nil, []string{"not a valid X.509-SVID"}},
		{"with a fragment", adminID + "#x", nil, []string{"not a valid X.509-SVID"}},
		{"with a port", "spiffe://" + siteName + ":443/operator/admin", nil, []string{"not a valid X.509-SVID", "it is of site"}},
		{"with a user", "spiffe://root@" + siteName + "/operator/admin", nil, []string{"not a valid X.509-SVID", "it is of site"}},
		{"with percent-encoding", "spiffe://" + siteName + "/operator/%61dmin", nil, []string{"not a valid X.509-SVID"}},
		{"with a trust domain in capitals", "spiffe://HARBOUR/operator/admin", nil, []string{"it is of site HARBOUR", "not a valid X.509-SVID"}},
		{"issued by a CA of the same name", adminID, func(f *forged) {
			f.issuer, f.issuerKey = otherAuthority.Certificate(), otherAuthority.Key()
		}, []string{certs.ErrUnknownAuthority.Error()}},
		{"issued by itself", adminID, func(f *forged) {
			f.issuer, f.issuerKey = f.template, f.key
		}, []string{certs.ErrUnknownAuthority.Error()}},
		{"issued by a node's SVID", adminID, func(f *forged) {
			leaf, err := x509.ParseCertificate(s.node.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			f.issuer, f.issuerKey, f.chain = leaf, s.node.PrivateKey.(crypto.Signer), [][]byte{s.node.Certificate[0]}
		}, []string{certs.ErrUnknownAuthority.Error(), "not a valid X.509-SVID"}},
		{"with the CA of another site in its chain", adminID, func(f *forged) {
			f.issuer, f.issuerKey = otherAuthority.Certificate(), otherAuthority.Key()
			f.chain = [][]byte{otherAuthority.Certificate().Raw}
		}, []string{certs.ErrUnknownAuthority.Error()}},
		{"for servers only", adminID, func(f *forged) {
			f.template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
			f.template.URIs = []*url.URL{parseURL(t, "spiffe://"+siteName+"/operator/nobody")}
		}, []string{"not a valid X.509-SVID", "no record"}},
		{"of an operator with another key", adminID, nil, []string{"with another key than"}},
		{"of an operator that nobody recorded", "spiffe://" + siteName + "/operator/mallory", nil, []string{"no record of this operator"}},
		{"of a workload", "spiffe://" + siteName + "/workload/default/web", nil, []string{"no such workload"}},
		{"of a node", "spiffe://" + siteName + "/node/node-1", nil, []string{"nodes may not call"}},
		{"of a node that nobody recorded", "spiffe://" + siteName + "/node/node-9", nil, []string{"nodes may not call"}},
		{"with an RSA key", adminID, func(f *forged) { f.key = newRSA(t) }, []string{"with another key than", "not an ECDSA key"}},
		{"with an Ed25519 key", adminID, func(f *forged) { f.key = newEd25519(t) }, []string{"with another key than", "not an ECDSA key"}},
		{"with a name that is not UTF-8", "", func(f *forged) {
			f.template.URIs = []*url.URL{{Scheme: "spiffe", Host: siteName, Path: "/operator/\xff\xfe"}}
		}, []string{"not a valid X.509-SVID"}},
		{"with a name that turns the reading direction", "", func(f *forged) {
			f.template.URIs = []*url.URL{{Scheme: "spiffe", Host: siteName, Path: "/operator/\u202enimda"}}
		}, []string{"not a valid X.509-SVID"}},
		{"with a very long path", "spiffe://" + siteName + "/operator/" + strings.Repeat("a", 3000), nil,
			[]string{"not a valid X.509-SVID", "no record of this operator"}},
		{"with a thousand DNS names", adminID, func(f *forged) {
			for i := range 1000 {
				f.template.DNSNames = append(f.template.DNSNames, fmt.Sprintf("n%d.example", i))
			}
		}, []string{"with another key than"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown := s.forge(t, c.id, c.change)
			s.judge(t, func(t *testing.T) {
				mark := s.log.size()
				got, err := s.call(shown, "ResourceService/List", `{"kind":"Node"}`)
				if err == nil && got.status == http.StatusOK {
					t.Fatalf("it was let in: %s", got.body)
				}
				if err != nil && !refusedByTLS(err) {
					t.Fatalf("not an answer: %v", err)
				}
				s.logged(t, mark, got.body, c.want...)
			})
		})
	}
}

// A certificate that only begins later was still signed by the site: it is the
// clock that is behind, and a node that fell back to 1970 must be able to come.
func TestACertificateThatBeginsLaterIsJudgedAtItsBeginning(t *testing.T) {
	s := startSite(t)
	shown := s.forge(t, adminID, func(f *forged) {
		f.key = s.admin.PrivateKey.(crypto.Signer)
		f.template.NotBefore, f.template.NotAfter = time.Now().Add(24*time.Hour), time.Now().Add(48*time.Hour)
	})
	got, err := s.call(shown, "ResourceService/List", `{"kind":"Node"}`)
	if err != nil || got.status != http.StatusOK {
		t.Errorf("%v %+v", err, got)
	}
}

func refusedByTLS(err error) bool {
	var alert tls.AlertError
	var op *net.OpError
	return errors.As(err, &alert) || errors.As(err, &op) || errors.Is(err, io.EOF) || strings.Contains(err.Error(), "tls:")
}

func newRSA(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEd25519(t *testing.T) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// What is not even TLS 1.3 with a protocol of ours.
func TestTheOnePortSpeaksNothingElse(t *testing.T) {
	s := startSite(t)
	workload := s.forge(t, "spiffe://"+siteName+"/workload/default/web", nil)
	for _, c := range []struct {
		name   string
		config *tls.Config
	}{
		{"TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: []string{mtls.API2}, Certificates: []tls.Certificate{s.admin}}},
		{"an unknown protocol", &tls.Config{NextProtos: []string{"smtp"}, Certificates: []tls.Certificate{s.admin}}},
		{"a thousand protocols", &tls.Config{NextProtos: manyProtocols(), Certificates: []tls.Certificate{s.admin}}},
		{"no certificate on the API", &tls.Config{NextProtos: []string{mtls.API2}}},
		{"no certificate on sync", &tls.Config{NextProtos: []string{mtls.Sync}}},
		{"no certificate on a stream", &tls.Config{NextProtos: []string{mtls.Stream}}},
		{"no certificate on raft", &tls.Config{NextProtos: []string{mtls.Raft}}},
		{"no certificate on content", &tls.Config{NextProtos: []string{mtls.Content}}},
		{"no certificate on peer", &tls.Config{NextProtos: []string{mtls.Peer}}},
		{"an operator on sync", &tls.Config{NextProtos: []string{mtls.Sync}, Certificates: []tls.Certificate{s.admin}}},
		{"an operator on a stream", &tls.Config{NextProtos: []string{mtls.Stream}, Certificates: []tls.Certificate{s.admin}}},
		{"an operator on raft", &tls.Config{NextProtos: []string{mtls.Raft}, Certificates: []tls.Certificate{s.admin}}},
		{"an operator on content", &tls.Config{NextProtos: []string{mtls.Content}, Certificates: []tls.Certificate{s.admin}}},
		{"an operator on peer", &tls.Config{NextProtos: []string{mtls.Peer}, Certificates: []tls.Certificate{s.admin}}},
		{"a workload on sync", &tls.Config{NextProtos: []string{mtls.Sync}, Certificates: []tls.Certificate{workload}}},
		{"a workload on a stream", &tls.Config{NextProtos: []string{mtls.Stream}, Certificates: []tls.Certificate{workload}}},
		{"a workload on raft", &tls.Config{NextProtos: []string{mtls.Raft}, Certificates: []tls.Certificate{workload}}},
		{"a workload on content", &tls.Config{NextProtos: []string{mtls.Content}, Certificates: []tls.Certificate{workload}}},
		{"a workload on peer", &tls.Config{NextProtos: []string{mtls.Peer}, Certificates: []tls.Certificate{workload}}},
		{"no certificate on renewal", &tls.Config{NextProtos: []string{mtls.Renew}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.InsecureSkipVerify = true
			s.judge(t, func(t *testing.T) {
				mark := s.log.size()
				if err := s.handshake(c.config); err == nil {
					t.Fatal("the connection stands")
				}
				s.logged(t, mark, "", "a connection was refused")
			})
		})
	}
}

func manyProtocols() []string {
	var all []string
	for i := range 1000 {
		all = append(all, fmt.Sprintf("protocol-%d", i))
	}
	return all
}

// handshake and the first byte: TLS 1.3 tells a client only then that it was
// refused.
func (s *site) handshake(config *tls.Config) error {
	conn, err := tls.Dial("tcp", s.address, config)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return err
	}
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		return nil // nobody refused it
	}
	return err
}

func TestBytesThatAreNoTLSAreRefused(t *testing.T) {
	s := startSite(t)
	for name, bytes := range map[string]string{
		"plain HTTP":                   "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"HTTP/2 in the clear":          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"SSH":                          "SSH-2.0-OpenSSH_9.2\r\n",
		"a record that claims 64 KiB":  "\x16\x03\x01\xff\xff" + strings.Repeat("\x01", 1000),
		"a hello that ends in between": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 502),
		"zeros":                        strings.Repeat("\x00", 4096),
		"an alert":                     "\x15\x03\x01\x00\x02\x02\x28",
	} {
		t.Run(name, func(t *testing.T) {
			s.judge(t, func(t *testing.T) {
				mark := s.log.size()
				conn, err := net.Dial("tcp", s.address)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(conn, bytes); err != nil {
					t.Fatal(err)
				}
				_ = conn.(*net.TCPConn).CloseWrite() // no more will come
				if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
					t.Errorf("the connection stays open: %v", err)
				}
				_ = conn.Close()
				s.logged(t, mark, "", "a connection was refused")
			})
		})
	}
}
