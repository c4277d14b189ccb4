package workloadapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"

	"skerry.dev/agent/identity/workloads"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "call-and-die" {
		callAndDie(os.Args[2])
	}
	goleak.VerifyTestMain(m)
}

// testNode is a node on which this very process is the placement web-1.
type testNode struct {
	t         *testing.T
	dir       string
	authority *certs.Authority

	mu       sync.Mutex
	bundle   *certs.Bundle
	signer   *certs.JwtSigner
	noJWT    error
	svid     *workloads.SVID
	attested error
	entitled error
	news     chan struct{}
}

var web = Placement{Project: "default", Name: "web-1"}

func newTestNode(t *testing.T) *testNode {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "wl") // short: socket paths are bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &testNode{t: t, dir: filepath.Join(dir, "workload"), news: make(chan struct{})}
	if n.authority, err = certs.NewAuthority(rand.Reader, "harbour", "n1", time.Now()); err != nil {
		t.Fatal(err)
	}
	trust, err := certs.FirstTrust("harbour", n.authority)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if n.signer, err = certs.NewJwtSigner(key); err != nil {
		t.Fatal(err)
	}
	next, err := certs.ExtendTrust(trust, n.authority, certs.TrustChange{JwtKeys: []*sitev1.JwtKey{{Node: "n1", Key: n.signer.Public()}}})
	if err != nil {
		t.Fatal(err)
	}
	if n.bundle, err = certs.VerifyTrust(certs.SiteID(trust), []*sitev1.TrustVersion{trust, next}); err != nil {
		t.Fatal(err)
	}
	n.rotate()
	return n
}

// change something, and tell.
func (n *testNode) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.news)
	n.news = make(chan struct{})
}

func (n *testNode) rotate() {
	n.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		n.t.Fatal(err)
	}
	der, err := n.authority.IssueWorkload("default", "web", nil, key.Public(), time.Now(), time.Hour)
	if err != nil {
		n.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		n.t.Fatal(err)
	}
	n.change(func() {
		n.svid = &workloads.SVID{ID: leaf.URIs[0].String(), Key: pkcs8, Chain: [][]byte{der}, Leaf: leaf}
	})
}

func (n *testNode) Attest(_ context.Context, pid int) (Placement, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if pid != os.Getpid() && n.attested == nil {
		return Placement{}, problem.New(problem.NotFound, "process", "it is in no container")
	}
	return web, n.attested
}

func (n *testNode) Entitled(Placement) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.entitled
}

func (n *testNode) SVID(Placement) *workloads.SVID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.svid
}

func (n *testNode) Bundle() *certs.Bundle {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.bundle
}

const webID = "spiffe://harbour/workload/default/web"

func (n *testNode) ID(Placement) (string, error) { return webID, nil }

func (n *testNode) Now() time.Time { return time.Now() }

func (n *testNode) JWT(_ context.Context, _ Placement, audience []string) (workloads.Token, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	token, _, err := n.signer.Issue("harbour", "default", "web", audience, time.Now())
	return workloads.Token{ID: webID, JWT: token}, errors.Join(err, n.noJWT)
}

func (n *testNode) News() News {
	n.mu.Lock()
	defer n.mu.Unlock()
	return News{Orders: n.news, SVIDs: n.news, Bundle: n.news}
}

func (n *testNode) socket() string { return filepath.Join(n.dir, manifest.IdentitySocket) }

// start the server; it ends with the test, or by the function.
func (n *testNode) start() (end func()) {
	n.t.Helper()
	s := New(Config{Dir: n.dir, Attest: n.Attest, Source: n, Env: env.NewSystem(), Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	end = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				n.t.Error(err)
			}
		})
	}
	n.t.Cleanup(end)
	n.until("it listens", func() bool {
		info, err := os.Stat(n.socket())
		return err == nil && info.Mode().Perm() == 0o666
	})
	return end
}

func (n *testNode) until(what string, so func() bool) {
	n.t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			n.t.Fatalf("it did not come to be that %s", what)
		}
	}
}

// client is go-spiffe's own.
func (n *testNode) client() *workloadapi.Client {
	n.t.Helper()
	c, err := workloadapi.New(n.t.Context(), workloadapi.WithAddr("unix://"+n.socket()))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}
