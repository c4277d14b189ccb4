package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// host answers joins over real TLS, and notes the secrets that it was sent.
type host struct {
	source  mtls.Source
	trust   []*sitev1.TrustVersion
	address string

	mu      sync.Mutex
	secrets int
}

func (h *host) Trust(_ context.Context, req *connect.Request[sitev1.TrustRequest]) (*connect.Response[sitev1.TrustResponse], error) {
	page, more := certs.TrustPage(h.trust, req.Msg.GetAfter())
	bundle, err := certs.VerifyTrust(certs.SiteID(h.trust[0]), h.trust)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&sitev1.TrustResponse{Versions: page, More: more, SiteEpoch: bundle.SiteEpoch(), Recovered: bundle.RecoverID()}), nil
}

func (h *host) Join(context.Context, *connect.Request[sitev1.JoinRequest]) (*connect.Response[sitev1.JoinResponse], error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.secrets++
	return connect.NewResponse(&sitev1.JoinResponse{}), nil
}

// serve answers on loopback until the test ends.
func (h *host) serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = listener.Addr().String()
	server := mtls.NewServer(h.source, slog.New(slog.DiscardHandler))
	mux := http.NewServeMux()
	mux.Handle(sitev1connect.NewJoinServiceHandler(h))
	server.HandleHTTP([]string{mtls.Join}, nil, mux)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
}

// begin makes a site on this machine, and returns its first node.
func begin(t *testing.T, site string) *Node {
	t.Helper()
	node, _ := beginWithOperator(t, site)
	return node
}

func beginWithOperator(t *testing.T, site string) (*Node, *Operator) {
	t.Helper()
	system, state, home := env.NewSystem(), t.TempDir(), t.TempDir()
	_, err := InitSite(system, InitOptions{
		Site: site, Operator: "admin", StateDir: state, Home: home,
		Node: &skerryv1.Node{Name: "n1", Address: "127.0.0.1:1"}, Keep: func(*sitev1.InitSite) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	node, err := Load(system, Dir(state))
	if err != nil {
		t.Fatal(err)
	}
	operator, err := LoadOperator(system, home, site)
	if err != nil {
		t.Fatal(err)
	}
	return node, operator
}

// shown is a source that shows a certificate which no CA of the site issued.
type shown struct {
	*Node
	cert tls.Certificate
}

func (s shown) Certificate() *tls.Certificate { return &s.cert }

func TestSecretIsSentToTheSiteAlone(t *testing.T) {
	reef, atoll := begin(t, "reef"), begin(t, "reef")
	operator, err := reef.Authority().IssueOperator("mallory", reef.Certificate().Leaf.PublicKey, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(operator)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		host *host
		sent int
	}{
		{"the site itself", &host{source: reef, trust: reef.Trust()}, 1},
		{"a site of the same name", &host{source: atoll, trust: atoll.Trust()}, 0},
		{"a stranger who shows the site's chain of trust", &host{source: atoll, trust: reef.Trust()}, 0},
		{"an operator of the site", &host{source: shown{reef, tls.Certificate{
			Certificate: [][]byte{operator}, PrivateKey: reef.Certificate().PrivateKey, Leaf: leaf,
		}}, trust: reef.Trust()}, 0},
		{"one who shows no chain of trust", &host{source: reef}, 0},
		{"one who has made the chain longer", &host{source: atoll, trust: append(reef.Trust(), atoll.Trust()...)}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.host.serve(t)
			dir := t.TempDir()
			_, err := Join(t.Context(), env.NewSystem(), JoinOptions{
				Token:   certs.Token{Site: "reef", SiteID: reef.SiteID(), Role: "node", Secret: make([]byte, 32)},
				Address: test.host.address, Node: &skerryv1.Node{Name: "n2"}, StateDir: dir,
				Keep: func(*sitev1.JoinResponse) error { return nil },
			})
			if err == nil {
				t.Error("it joined")
			}
			if test.host.secrets != test.sent {
				t.Errorf("the secret was sent %d times, want %d: %v", test.host.secrets, test.sent, err)
			}
			if _, err := Load(env.NewSystem(), Dir(dir)); err != ErrNone {
				t.Errorf("there is an identity: %v", err)
			}
		})
	}
}

func TestTrustIsOnlyEverExtended(t *testing.T) {
	extend := func(t *testing.T, chain []*sitev1.TrustVersion, signer *certs.Authority, name string) []*sitev1.TrustVersion {
		t.Helper()
		added, err := certs.NewAuthority(env.NewSystem().Rand, "reef", name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		next, err := certs.ExtendTrust(chain[len(chain)-1], signer, certs.TrustChange{Add: []*x509.Certificate{added.Certificate()}})
		if err != nil {
			t.Fatal(err)
		}
		return append(chain[:len(chain):len(chain)], next)
	}
	for _, test := range []struct {
		name    string
		chain   func(t *testing.T, n *Node, known []*sitev1.TrustVersion) []*sitev1.TrustVersion
		version uint64
		refused bool
	}{
		{"the same chain changes nothing", func(_ *testing.T, _ *Node, known []*sitev1.TrustVersion) []*sitev1.TrustVersion {
			return known
		}, 2, false},
		{"an older one changes nothing", func(_ *testing.T, _ *Node, known []*sitev1.TrustVersion) []*sitev1.TrustVersion {
			return known[:1]
		}, 2, false},
		{"a longer one is taken over", func(t *testing.T, n *Node, known []*sitev1.TrustVersion) []*sitev1.TrustVersion {
			return extend(t, extend(t, known, n.Authority(), "n3"), n.Authority(), "n4")
		}, 4, false},
		{"of a longer one only what follows is believed", func(t *testing.T, n *Node, known []*sitev1.TrustVersion) []*sitev1.TrustVersion {
			longer := extend(t, known, n.Authority(), "n3")
			longer[0] = &sitev1.TrustVersion{Body: []byte("forged")}
			return longer
		}, 3, false},
		{"a fork is refused, though it is signed and longer", func(t *testing.T, n *Node, known []*sitev1.TrustVersion) []*sitev1.TrustVersion {
			return extend(t, extend(t, known[:1], n.Authority(), "fork-2"), n.Authority(), "fork-3")
		}, 2, true},
		{"another site's chain is refused", func(t *testing.T, _ *Node, _ []*sitev1.TrustVersion) []*sitev1.TrustVersion {
			other := begin(t, "reef")
			return extend(t, extend(t, other.Trust(), other.Authority(), "n2"), other.Authority(), "n3")
		}, 2, true},
		{"a version that nobody signed is refused", func(t *testing.T, n *Node, known []*sitev1.TrustVersion) []*sitev1.TrustVersion {
			longer := extend(t, known, n.Authority(), "n3")
			longer[2] = &sitev1.TrustVersion{Body: longer[2].GetBody(), Signer: longer[2].GetSigner(), Signature: known[1].GetSignature()}
			return longer
		}, 2, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := begin(t, "reef")
			known := extend(t, n.Trust(), n.Authority(), "n2")
			if err := n.UpdateTrust(known); err != nil {
				t.Fatal(err)
			}
			err := n.UpdateTrust(test.chain(t, n, known))
			if (err != nil) != test.refused {
				t.Errorf("it gave %v, refused is wanted: %t", err, test.refused)
			}
			if err != nil && problem.KindOf(err) == problem.Internal {
				t.Errorf("the refusal has no kind: %v", err)
			}
			again, err := Load(env.NewSystem(), n.dir)
			if err != nil {
				t.Fatal(err)
			}
			if n.Bundle().Version() != test.version || again.Bundle().Version() != test.version {
				t.Errorf("version %d is believed, %d after a restart, want %d", n.Bundle().Version(), again.Bundle().Version(), test.version)
			}
		})
	}
}

func TestDamagedIdentityIsNotTakenForNone(t *testing.T) {
	for _, file := range []string{keyFile, svidFile, trustFile, gossipFile, authorityKey} {
		t.Run(file+" is gone", func(t *testing.T) {
			n := begin(t, "reef")
			if err := n.fs.Remove(n.dir + "/" + file); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(env.NewSystem(), n.dir); err == nil || err == ErrNone {
				t.Errorf("it gave %v", err)
			}
		})
	}
	for _, file := range []string{keyFile, svidFile, trustFile, nodeFile, authorityCert} {
		t.Run(file+" is garbage", func(t *testing.T) {
			n := begin(t, "reef")
			if err := n.fs.WriteFile(n.dir+"/"+file, []byte("\xffgarbage"), filePerm); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(env.NewSystem(), n.dir); err == nil || err == ErrNone {
				t.Errorf("it gave %v", err)
			}
		})
	}
}
