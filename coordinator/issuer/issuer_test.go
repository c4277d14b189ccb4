package issuer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// testSite has the nodes n1 and n2; newTestSite binds web-1 to n1 and web-2 to
// n2, both with identity, and plain-1 to n1 without.
type testSite struct {
	t         *testing.T
	store     *state.Store
	index     uint64
	authority *certs.Authority
	issuer    Issuer
	isolated  bool
	signer    *certs.JwtSigner
}

var capacity = &skerryv1.Capacity{CpuMilli: 8000, MemoryBytes: 8 << 30}

func newTestSite(t *testing.T) *testSite {
	t.Helper()
	s := &testSite{t: t, store: state.New()}
	s.authority = newAuthority(t)
	trust, err := certs.FirstTrust("harbour", s.authority)
	if err != nil {
		t.Fatal(err)
	}
	s.must(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "harbour", SiteId: certs.SiteID(trust), Trust: trust,
		Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: fingerprint("admin")},
		Node:     &skerryv1.Node{Name: "n1", KeyFingerprint: fingerprint("n1"), Capacity: capacity}, GossipKey: make([]byte, 32),
	}}})
	s.join("n2")
	s.must(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Kind: "Image", Name: "site.local/web:1", Digest: "sha256:" + strings.Repeat("a", 64), Nodes: []string{"n1", "n2"},
	}}}})
	s.apply("web", true, "n1", "n2")
	s.apply("plain", false, "n1")
	s.issuer = Issuer{Config{
		ReadIndex: func(context.Context) (uint64, error) {
			if s.isolated {
				return 0, errors.New("no majority")
			}
			return s.index, nil
		},
		Store: s.store, Bundle: func(view *state.View) (*certs.Bundle, error) { return certs.VerifyTrust(view.SiteID(), view.Trust()) },
		JwtSigner: func(bundle *certs.Bundle) *certs.JwtSigner {
			if s.signer == nil || bundle.JwtKey(certs.JwtKeyID(s.signer.Public())) == nil {
				return nil
			}
			return s.signer
		},
		Authority: func() *certs.Authority { return s.authority }, Now: time.Now,
	}}
	return s
}

func newAuthority(t *testing.T) *certs.Authority {
	t.Helper()
	authority, err := certs.NewAuthority(rand.Reader, "harbour", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func fingerprint(of string) []byte { return bytes.Repeat([]byte("key of "+of), 32)[:32] }

func (s *testSite) must(entry *sitev1.Entry) {
	s.t.Helper()
	s.index++
	entry.Time = timestamppb.Now()
	if outcome := s.store.Apply(s.index, entry); outcome.GetErrorKind() != "" || outcome.GetRejected() != 0 {
		s.t.Fatal(outcome)
	}
}

func (s *testSite) join(name string) {
	s.t.Helper()
	s.must(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: name, Role: "node", Name: name, Expires: timestamppb.New(time.Now().Add(time.Hour))},
		SecretHash: fingerprint("secret" + name),
	}}})
	s.must(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: fingerprint("secret" + name), KeyFingerprint: fingerprint(name), Node: &skerryv1.Node{Capacity: capacity},
	}}})
}

// apply makes a workload with one placement on each of the nodes.
func (s *testSite) apply(name string, identity bool, on ...string) {
	s.t.Helper()
	replicas := uint32(len(on))
	w := &skerryv1.Workload{Name: name, Replicas: &replicas, Identity: identity, Container: &skerryv1.Container{Image: "site.local/web:1"}}
	manifest.Default(w)
	s.must(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: w}}},
	}}})
	for _, node := range on {
		s.must(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{Create: []*sitev1.NewPlacement{
			{Project: "default", Workload: name, Generation: s.store.View().Workload("default", name).GetGeneration()},
		}}}})
		all := s.store.View().PlacementsOf("default", name)
		s.must(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{Assign: []*sitev1.Assignment{
			{Project: "default", Placement: all[len(all)-1].GetName(), Node: node},
		}}}})
	}
}

func (s *testSite) stop(placement string) {
	s.t.Helper()
	s.must(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{BaseIndex: s.index, Remove: []*sitev1.Removal{
		{Project: "default", Placement: placement, Reason: "test"},
	}}}})
}

func csr(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := certs.NewJoinRequest(rand.Reader, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// ask as a node.
func (s *testSite) ask(node string, requests ...*sitev1.SvidRequest) ([]*sitev1.IssuedSvid, error) {
	ctx := mtls.WithPeer(s.t.Context(), certs.Peer{Role: certs.RoleNode, Name: node, KeyFingerprint: fingerprint(node)})
	response, err := s.issuer.IssueSvids(ctx, connect.NewRequest(&sitev1.IssueSvidsRequest{Requests: requests}))
	if err != nil {
		return nil, err
	}
	return response.Msg.GetSvids(), nil
}

func TestAnSVIDFollowsTheSpecification(t *testing.T) {
	s := newTestSite(t)
	issued, err := s.ask("n1", &sitev1.SvidRequest{Project: "default", Placement: "web-1", Csr: csr(t)})
	if err != nil || len(issued) != 1 || issued[0].GetRefused() != "" {
		t.Fatalf("it gave %v, %v", issued, err)
	}
	leaf, err := x509.ParseCertificate(issued[0].GetSvid()[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://harbour/workload/default/web" || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) != 0 {
		t.Errorf("its names are %v %v %v", leaf.URIs, leaf.DNSNames, leaf.IPAddresses)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature ||
		len(leaf.ExtKeyUsage) != 2 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth || leaf.ExtKeyUsage[1] != x509.ExtKeyUsageClientAuth {
		t.Errorf("CA %v, key usage %v, extended %v", leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage)
	}
	if left := time.Until(leaf.NotAfter); left > certs.WorkloadLifetime || left < certs.WorkloadLifetime-time.Minute {
		t.Errorf("it lives for %s", left)
	}
	bundle, err := certs.VerifyTrust(s.store.View().SiteID(), s.store.View().Trust())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := certs.VerifyPeer([]*x509.Certificate{leaf}, bundle, time.Now())
	if err != nil || peer.Role != certs.RoleWorkload || peer.Name != "default/web" {
		t.Errorf("the site takes it for %v, %v", peer, err)
	}
	// By this it counts for nothing when the node is evicted.
	if !bytes.Equal(peer.HostFingerprint, fingerprint("n1")) {
		t.Errorf("it names the node with the key %x", peer.HostFingerprint)
	}
}

func TestWhatIsRefused(t *testing.T) {
	s := newTestSite(t)
	s.apply("old", true, "n1")
	s.stop("old-1")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	good := csr(t)
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	for _, test := range []struct {
		name, node, project, placement string
		csr                            []byte
		says                           string
	}{
		{"a placement of another node", "n1", "default", "web-2", good, "not bound to n1"},
		{"a placement of this node, by another one", "n2", "default", "web-1", good, "not bound to n2"},
		{"a placement that there is not", "n1", "default", "web-9", good, "not bound to n1"},
		{"a placement of another project", "n1", "shop", "web-1", good, "not bound to n1"},
		{"no name", "n1", "", "", good, "not bound to n1"},
		{"a name as long as a book", "n1", "default", strings.Repeat("x", 100_000), good, "not bound to n1"},
		{"a placement on its way out", "n1", "default", "old-1", good, "on its way out"},
		{"a placement that asks for no identity", "n1", "default", "plain-1", good, "asks for no identity"},
		{"no certificate request", "n1", "default", "web-1", nil, "not usable"},
		{"half a certificate request", "n1", "default", "web-1", good[:len(good)/2], "not usable"},
		{"a request that its key did not sign", "n1", "default", "web-1", forged, "not usable"},
		{"a key of another kind", "n1", "default", "web-1", weak, "P-256"},
		{"a request that is too large", "n1", "default", "web-1", make([]byte, 5000), "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			issued, err := s.ask(test.node,
				&sitev1.SvidRequest{Project: test.project, Placement: test.placement, Csr: test.csr})
			if err != nil {
				t.Fatal(err)
			}
			if len(issued[0].GetSvid()) != 0 || !strings.Contains(issued[0].GetRefused(), test.says) || len(issued[0].GetRefused()) > 300 {
				t.Errorf("it gave %v", issued[0])
			}
		})
	}
}

func TestOneRefusalDoesNotKeepTheOthersWaiting(t *testing.T) {
	s := newTestSite(t)
	issued, err := s.ask("n1", &sitev1.SvidRequest{Project: "default", Placement: "web-2", Csr: csr(t)},
		&sitev1.SvidRequest{Project: "default", Placement: "web-1", Csr: csr(t)})
	if err != nil || len(issued) != 2 || issued[0].GetRefused() == "" || issued[1].GetRefused() != "" {
		t.Errorf("it gave %v, %v", issued, err)
	}
}

func TestWholeCallsAreRefused(t *testing.T) {
	request := &sitev1.SvidRequest{Project: "default", Placement: "web-1", Csr: csr(t)}
	for _, test := range []struct {
		name string
		node string
		ctx  func(context.Context) context.Context
		with func(*testSite)
		many int
		code connect.Code
	}{
		{"more requests than a call may have", "n1", nil, nil, MaxRequests + 1, connect.CodeInvalidArgument},
		{"a node that the site has no record of", "n9", nil, nil, 1, connect.CodePermissionDenied},
		{"a voter that is cut off", "n1", nil, func(s *testSite) { s.isolated = true }, 1, connect.CodeUnavailable},
		{"a voter whose CA does not count yet", "n1", nil, func(s *testSite) { s.authority = newAuthority(s.t) }, 1, connect.CodeUnavailable},
		{"a voter without a CA", "n1", nil, func(s *testSite) { s.authority = nil }, 1, connect.CodeUnavailable},
		{"a node that was removed", "n3", nil, func(s *testSite) {
			s.join("n3")
			s.must(&sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{Kind: "Node", Name: "n3"}}})
		}, 1, connect.CodePermissionDenied},
		{"nobody", "", func(context.Context) context.Context { return context.Background() }, nil, 1, connect.CodePermissionDenied},
		{"an operator", "", func(ctx context.Context) context.Context {
			return mtls.WithPeer(ctx, certs.Peer{Role: certs.RoleOperator, Name: "n1", KeyFingerprint: fingerprint("n1")})
		}, nil, 1, connect.CodePermissionDenied},
		{"a workload", "", func(ctx context.Context) context.Context {
			return mtls.WithPeer(ctx, certs.Peer{Role: certs.RoleWorkload, Name: "default/web", KeyFingerprint: fingerprint("n1")})
		}, nil, 1, connect.CodePermissionDenied},
		{"a node with an earlier key", "", func(ctx context.Context) context.Context {
			return mtls.WithPeer(ctx, certs.Peer{Role: certs.RoleNode, Name: "n1", KeyFingerprint: fingerprint("before")})
		}, nil, 1, connect.CodePermissionDenied},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newTestSite(t)
			if test.with != nil {
				test.with(s)
			}
			ctx := mtls.WithPeer(t.Context(), certs.Peer{Role: certs.RoleNode, Name: test.node, KeyFingerprint: fingerprint(test.node)})
			if test.ctx != nil {
				ctx = test.ctx(t.Context())
			}
			requests := make([]*sitev1.SvidRequest, test.many)
			for i := range requests {
				requests[i] = request
			}
			_, err := s.issuer.IssueSvids(ctx, connect.NewRequest(&sitev1.IssueSvidsRequest{Requests: requests}))
			if connect.CodeOf(err) != test.code || err == nil {
				t.Errorf("it gave %v", err)
			}
		})
	}
}

// TestThroughTheGuard: the interceptor before all handlers lets the answers out.
func TestThroughTheGuard(t *testing.T) {
	s := newTestSite(t)
	peer := certs.Peer{ID: spiffeid.RequireFromString("spiffe://harbour/node/n1"), Role: certs.RoleNode, Name: "n1", KeyFingerprint: fingerprint("n1")}
	_, handler := sitev1connect.NewWorkloadIdentityServiceHandler(s.issuer, connect.WithInterceptors(guard.New(guard.Config{
		Who: func(ctx context.Context) access.Principal {
			peer, _ := mtls.PeerFrom(ctx)
			return access.PrincipalOf(peer.ID.String())
		},
	})))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(mtls.WithPeer(r.Context(), peer)))
	}))
	defer server.Close()
	client := sitev1connect.NewWorkloadIdentityServiceClient(server.Client(), server.URL)
	ask := func() (*connect.Response[sitev1.IssueSvidsResponse], error) {
		return client.IssueSvids(t.Context(), connect.NewRequest(&sitev1.IssueSvidsRequest{
			Requests: []*sitev1.SvidRequest{{Project: "default", Placement: "web-1", Csr: csr(t)}},
		}))
	}
	if response, err := ask(); err != nil || len(response.Msg.GetSvids()[0].GetSvid()) != 1 {
		t.Errorf("a node was answered %v, %v", response, err)
	}
	peer = certs.Peer{ID: spiffeid.RequireFromString("spiffe://harbour/operator/admin"), Role: certs.RoleOperator, Name: "admin", KeyFingerprint: fingerprint("admin")}
	if _, err := ask(); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("an operator was answered %v", err)
	}
}
