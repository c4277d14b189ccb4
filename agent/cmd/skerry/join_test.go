package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// testSite is a site of one voter that answers on loopback.
type testSite struct {
	t       *testing.T
	init    *sitev1.InitSite
	address string
	voter   *coordinator.Voter
	node    *identity.Node
}

// nothingToKeep is for joins whose agent never runs.
func nothingToKeep(*sitev1.JoinResponse) error { return nil }

func newTestSite(t *testing.T, name string) *testSite {
	t.Helper()
	system, logger := env.NewSystem(), slog.New(slog.DiscardHandler)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &testSite{t: t, address: listener.Addr().String()}
	state := t.TempDir()
	s.init, err = identity.InitSite(system, identity.InitOptions{
		Site: name, Operator: "admin", StateDir: state, Home: t.TempDir(),
		Node: &skerryv1.Node{Name: "n1", Address: s.address}, Keep: func(*sitev1.InitSite) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	node, err := identity.Load(system, identity.Dir(state))
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := identity.Recipient(system.FS, system.Rand, identity.Dir(state))
	if err != nil {
		t.Fatal(err)
	}
	s.voter, err = coordinator.New(coordinator.Config{
		Node: "n1", Site: name, RaftID: 1, Dir: filepath.Join(state, "raft"), AuditDir: t.TempDir(), AuditKey: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), Init: s.init,
		Peers: func() []*sitev1.Peer { return nil }, Dialer: &mtls.Dialer{Net: system.Net, Source: node},
		Authority: node.Authority, JwtSigner: node.JwtSigner, Recipient: recipient, SiteTime: node.SiteTime(), Env: system, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := mtls.NewServer(node, logger)
	s.node = node
	server.HandleHTTP([]string{mtls.Join}, nil, s.voter.Join())
	server.HandleHTTP([]string{mtls.Renew}, func(certs.Peer) error { return nil }, s.voter.Renewals())
	server.HandleHTTP([]string{mtls.Sync}, mtls.ExpectNode(""), s.voter.Sync())
	server.HandleHTTP([]string{mtls.API2}, func(certs.Peer) error { return nil }, s.voter.Operators())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- s.voter.Run(ctx) }()
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		<-ended
		<-ended
	})
	return s
}

// token makes one, and waits for the site to be open.
func (s *testSite) token(role, name string) certs.Token {
	s.t.Helper()
	secret := sha256.Sum256([]byte(s.init.GetName() + role + name))
	token := certs.Token{Site: s.init.GetName(), SiteID: s.init.GetSiteId(), Role: role, Secret: secret[:]}
	hash := sha256.Sum256(secret[:])
	entry := &sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-" + role + name, Role: role, Name: name, Expires: timestamppb.New(time.Now().Add(time.Hour))},
		SecretHash: hash[:],
	}}}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for try := 0; ; try++ {
		entry.RequestId = fmt.Sprintf("token-%s%s-%d", role, name, try)
		outcome, err := s.voter.Propose(ctx, proto.CloneOf(entry))
		if err == nil && outcome.GetErrorKind() == "" {
			return token
		}
		if env.Sleep(ctx, env.NewSystem().Clock, time.Millisecond) != nil {
			s.t.Fatalf("the token could not be made: %v %v", outcome, err)
		}
	}
}

func (s *testSite) join(token certs.Token, stateDir string) (string, error) {
	return identity.Join(s.t.Context(), env.NewSystem(), identity.JoinOptions{
		Token: token, Address: s.address, StateDir: stateDir, Home: stateDir,
		Node: &skerryv1.Node{Name: "n2", Address: "127.0.0.1:1"}, Keep: nothingToKeep,
	})
}

func TestNodeJoinsOverTLS(t *testing.T) {
	site := newTestSite(t, "reef")
	token := site.token("node", "")
	parsed, err := certs.ParseToken(token.String())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name, err := site.join(parsed, dir)
	if err != nil || name != "n2" {
		t.Fatalf("joined as %q: %v", name, err)
	}
	node, err := identity.Load(env.NewSystem(), identity.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if node.SiteID() != site.init.GetSiteId() || !bytes.Equal(node.GossipKey(), site.init.GetGossipKey()) || node.Authority() != nil {
		t.Errorf("the node of site %s has %d bytes of gossip key, a CA: %t", node.SiteID(), len(node.GossipKey()), node.Authority() != nil)
	}
	if peer, err := certs.VerifyPeer(certsOf(t, node), node.Bundle(), time.Now()); err != nil || peer.Name != "n2" {
		t.Errorf("its SVID is for %v: %v", peer.ID, err)
	}
	if _, err := site.join(parsed, dir); problem.KindOf(err) != problem.Conflict {
		t.Errorf("joining again gave %v", err)
	}
	// Another machine brings the same token.
	other := t.TempDir()
	if _, err := site.join(parsed, other); problem.KindOf(err) != problem.Forbidden {
		t.Errorf("the replayed token gave %v", err)
	}
	if _, err := identity.Load(env.NewSystem(), identity.Dir(other)); err != identity.ErrNone {
		t.Errorf("the refused machine has an identity: %v", err)
	}
}

// TestJoinIsRepeatedAfterACrash loses the machine's record after the site has
// taken it in: the same key gets the same record.
func TestJoinIsRepeatedAfterACrash(t *testing.T) {
	site := newTestSite(t, "reef")
	token := site.token("node", "")
	system, dir := env.NewSystem(), t.TempDir()
	crashed := problem.New(problem.Internal, "test", "the power is cut")
	_, err := identity.Join(t.Context(), system, identity.JoinOptions{
		Token: token, Address: site.address, StateDir: dir, Node: &skerryv1.Node{Name: "n2", Address: "127.0.0.1:1"},
		Keep: func(*sitev1.JoinResponse) error { return crashed },
	})
	if err == nil || !strings.Contains(err.Error(), "the power is cut") {
		t.Fatalf("the join gave %v", err)
	}
	if _, err := identity.Load(system, identity.Dir(dir)); err != identity.ErrNone {
		t.Fatalf("after the crash: %v", err)
	}
	var record *skerryv1.Node
	_, err = identity.Join(t.Context(), system, identity.JoinOptions{
		Token: token, Address: site.address, StateDir: dir, Node: &skerryv1.Node{Name: "another", Address: "127.0.0.1:2"},
		Keep: func(answer *sitev1.JoinResponse) error {
			record = answer.GetNode()
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	node, err := identity.Load(system, identity.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	if record.GetName() != "n2" || record.GetAddress() != "127.0.0.1:1" || !proto.Equal(record, node.Record()) {
		t.Errorf("the repeated join got %v", record)
	}
}

func TestOperatorJoinsOverTLS(t *testing.T) {
	site := newTestSite(t, "reef")
	token := site.token("operator", "mia")
	home := t.TempDir()
	if name, err := site.join(token, home); err != nil || name != "mia" {
		t.Fatalf("joined as %q: %v", name, err)
	}
	operator, err := identity.LoadOperator(env.NewSystem(), home, "")
	if err != nil {
		t.Fatal(err)
	}
	if operator.Site() != "reef" || operator.Addresses[0] != site.address {
		t.Errorf("the operator's site is %s at %v", operator.Site(), operator.Addresses)
	}
	if _, err := site.join(token, t.TempDir()); problem.KindOf(err) != problem.Forbidden {
		t.Errorf("the replayed token gave %v", err)
	}
}

func TestTokensThatDoNotOpenTheSite(t *testing.T) {
	site := newTestSite(t, "reef")
	good := site.token("node", "")
	for _, test := range []struct {
		name   string
		change func(*certs.Token)
		kind   problem.Kind
	}{
		{"another secret", func(k *certs.Token) { k.Secret = bytes.Repeat([]byte{1}, len(k.Secret)) }, problem.Forbidden},
		{"another site", func(k *certs.Token) { k.SiteID = strings.Repeat("0", 64) }, problem.Invalid},
		{"a node's token for an operator", func(k *certs.Token) { k.Role = "operator" }, problem.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := good
			token.Secret = bytes.Clone(good.Secret)
			test.change(&token)
			dir := t.TempDir()
			if _, err := site.join(token, dir); problem.KindOf(err) != test.kind {
				t.Errorf("it gave %v, want one of kind %s", err, test.kind)
			}
			if _, err := identity.LoadOperator(env.NewSystem(), dir, ""); err == nil {
				t.Error("there are credentials")
			}
		})
	}
	text := good.String()
	for cut := range len(text) {
		if _, err := certs.ParseToken(text[:cut]); problem.KindOf(err) != problem.Invalid {
			t.Errorf("a token cut off after %d of %d characters gave %v", cut, len(text), err)
		}
	}
}

func certsOf(t *testing.T, source mtls.Source) (chain []*x509.Certificate) {
	t.Helper()
	return append(chain, source.Certificate().Leaf)
}
