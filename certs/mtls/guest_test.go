package mtls

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// trust is a chain of trust that tests extend.
type trust struct {
	t         *testing.T
	authority *certs.Authority

	mu     sync.Mutex
	chain  []*sitev1.TrustVersion
	bundle *certs.Bundle
}

func newTrust(t *testing.T) *trust {
	t.Helper()
	authority, err := certs.NewAuthority(rand.Reader, "reef", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	first, err := certs.FirstTrust("reef", authority)
	if err != nil {
		t.Fatal(err)
	}
	tr := &trust{t: t, authority: authority}
	tr.take(first)
	return tr
}

func (tr *trust) take(version *sitev1.TrustVersion) {
	tr.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.chain = append(tr.chain, version)
	bundle, err := certs.VerifyTrust(certs.SiteID(tr.chain[0]), tr.chain)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.bundle = bundle
}

func (tr *trust) extend(change certs.TrustChange) {
	tr.t.Helper()
	version, err := certs.ExtendTrust(tr.chain[len(tr.chain)-1], tr.authority, change)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.take(version)
}

// end is one side of connections.
type end struct {
	*trust
	cert     tls.Certificate
	onRecord bool
}

func (e *end) Certificate() *tls.Certificate { return &e.cert }
func (e *end) Now() time.Time                { return time.Now() }
func (e *end) OnRecord(certs.Peer) bool      { return e.onRecord }
func (e *end) Bundle() *certs.Bundle {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bundle
}

func (tr *trust) node(name string, issuer *certs.Authority) *end {
	tr.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tr.t.Fatal(err)
	}
	der, err := issuer.IssueNode(certs.NodeRequest{Name: name, PublicKey: key.Public()}, time.Now())
	if err != nil {
		tr.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tr.t.Fatal(err)
	}
	return &end{trust: tr, cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
}

func (e *end) revocation() *sitev1.Revocation {
	return &sitev1.Revocation{Subject: "node/n2", KeyFingerprint: certs.Fingerprint(e.cert.Leaf.PublicKey)}
}

// serve answers until the test ends: a stream that goes on and on, and bare
// connections that are echoed.
func (e *end) serve() (server *Server, address string) {
	e.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	server = NewServer(e, slog.New(slog.DiscardHandler))
	server.HandleHTTP([]string{API2, Sync}, ExpectNode(""), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("x"))
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/stream" {
			<-r.Context().Done()
		}
	}))
	server.HandleConn(Raft, ExpectNode(""), func(ctx context.Context, conn net.Conn, _ certs.Peer) { _, _ = io.Copy(conn, conn) })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	e.t.Cleanup(func() {
		stop()
		<-ended
	})
	return server, listener.Addr().String()
}

func TestARevokedPeerIsCutOffAndLetInNoMore(t *testing.T) {
	tr := newTrust(t)
	server, address := tr.node("n1", tr.authority).serve()
	n2, n3 := tr.node("n2", tr.authority), tr.node("n3", tr.authority)
	dial := func(from *end, protocol string) (net.Conn, error) {
		return (&Dialer{Net: env.NewSystem().Net, Source: from}).Dial(t.Context(), address, protocol, ExpectNode("n1"))
	}
	evicted, err := dial(n2, Raft)
	if err != nil {
		t.Fatal(err)
	}
	stays, err := dial(n3, Raft)
	if err != nil {
		t.Fatal(err)
	}
	client := (&Dialer{Net: env.NewSystem().Net, Source: n2}).HTTPClient(Sync, ExpectNode("n1"))
	stream, err := client.Get("https://" + address + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	for _, conn := range []net.Conn{evicted, stays} {
		if !echoes(conn) {
			t.Fatal("a connection does not work before anything was revoked")
		}
	}
	tr.extend(certs.TrustChange{Revoke: []*sitev1.Revocation{n2.revocation()}})
	// Without any recheck the next call is refused already.
	if _, err := client.Get("https://" + address + "/"); err == nil {
		t.Error("a call of a revoked peer was taken")
	}
	if cut := server.Recheck(); cut == 0 {
		t.Error("nothing was cut")
	}
	if echoes(evicted) || !echoes(stays) {
		t.Error("the wrong connection was cut, or none")
	}
	if _, err := io.ReadAll(stream.Body); err == nil {
		t.Error("the stream of a revoked peer ended as if all were well")
	}
	if again, err := dial(n2, Raft); err == nil && echoes(again) {
		t.Error("a revoked peer was let in again")
	}
}

func echoes(conn net.Conn) bool {
	if _, err := conn.Write([]byte("!")); err != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	n, _ := conn.Read(make([]byte, 1))
	return n == 1
}

func TestConnectionsToARevokedPeerAreCutToo(t *testing.T) {
	tr := newTrust(t)
	n2 := tr.node("n2", tr.authority)
	_, address := n2.serve()
	dialer := &Dialer{Net: env.NewSystem().Net, Source: tr.node("n1", tr.authority)}
	conn, err := dialer.Dial(t.Context(), address, Raft, ExpectNode("n2"))
	if err != nil {
		t.Fatal(err)
	}
	if !echoes(conn) || dialer.Recheck() != 0 {
		t.Fatal("it does not work before anything was revoked")
	}
	tr.extend(certs.TrustChange{Revoke: []*sitev1.Revocation{n2.revocation()}})
	if dialer.Recheck() != 1 || echoes(conn) {
		t.Error("the connection was not cut")
	}
	if _, err := dialer.Dial(t.Context(), address, Raft, ExpectNode("n2")); !errors.Is(err, certs.ErrRevoked) {
		t.Errorf("dialing it gave %v", err)
	}
}

func TestWhatADroppedCAIssuedIsGoodForKeysOnRecord(t *testing.T) {
	tr := newTrust(t)
	other, err := certs.NewAuthority(rand.Reader, "reef", "n2", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tr.extend(certs.TrustChange{Add: []*x509.Certificate{other.Certificate()}})
	n1, n3 := tr.node("n1", tr.authority), tr.node("n3", other)
	server, address := n1.serve()
	dialer := &Dialer{Net: env.NewSystem().Net, Source: n3}
	conn, err := dialer.Dial(t.Context(), address, Raft, ExpectNode("n1"))
	if err != nil {
		t.Fatal(err)
	}
	if !echoes(conn) {
		t.Fatal("it does not work before the CA was dropped")
	}
	tr.extend(certs.TrustChange{Drop: []*x509.Certificate{other.Certificate()}})
	n1.onRecord = true
	if server.Recheck() != 0 || !echoes(conn) {
		t.Error("a peer whose key is on record was cut off")
	}
	n1.onRecord = false
	tr.extend(certs.TrustChange{})
	if server.Recheck() != 1 || echoes(conn) {
		t.Error("a peer whose key is not on record was let stay")
	}
}
