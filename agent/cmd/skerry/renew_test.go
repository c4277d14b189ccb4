package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/api"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// pass lets site time go on.
func (s *testSite) pass(d time.Duration) {
	now := s.node.SiteTime().Read()
	s.node.SiteTime().Observe(sitetime.Stamp{Time: now.Time.Add(d), Reference: now.Reference.Add(d)})
}

// admits tells whether the site takes the identity of a source on the API.
func (s *testSite) admits(source mtls.Source) error {
	dialer := &mtls.Dialer{Net: env.NewSystem().Net, Source: source}
	conn, err := dialer.Dial(s.t.Context(), s.address, mtls.API2, mtls.ExpectNode(""))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, err = conn.Read(make([]byte, 1)) // the server's settings, or why not
	return err
}

func (s *testSite) newNode(name string) *identity.Node {
	s.t.Helper()
	dir := s.t.TempDir()
	if _, err := s.join(s.token("node", name), dir); err != nil {
		s.t.Fatal(err)
	}
	node, err := identity.Load(env.NewSystem(), identity.Dir(dir))
	if err != nil {
		s.t.Fatal(err)
	}
	return node
}

func TestANodeThatWasAwayFor400DaysComesBack(t *testing.T) {
	site := newTestSite(t, "reef")
	away := site.newNode("n2")
	if err := site.admits(away); err != nil {
		t.Fatal(err)
	}
	before := away.Certificate().Leaf
	site.pass(400 * 24 * time.Hour)
	if err := site.admits(away); err == nil {
		t.Fatal("an SVID that has expired counts")
	}
	// It does not know how late it is: the site does.
	renewed, err := identity.Renew(t.Context(), env.NewSystem(), away, []string{site.address}, false)
	if err != nil || !renewed {
		t.Fatalf("it was not renewed: %v", err)
	}
	// So does the voter's own, which it is served with.
	if renewed, err := identity.Renew(t.Context(), env.NewSystem(), site.node, []string{site.address}, true); err != nil || !renewed {
		t.Fatalf("the voter's own was not renewed: %v", err)
	}
	if err := site.admits(away); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
	after := away.Certificate().Leaf
	if after.URIs[0].String() != before.URIs[0].String() || !after.NotAfter.After(before.NotAfter.AddDate(1, 0, 0)) {
		t.Errorf("the new SVID is for %s until %s", after.URIs[0], after.NotAfter)
	}
	if renewed, err := identity.Renew(t.Context(), env.NewSystem(), away, []string{site.address}, false); err != nil || renewed {
		t.Errorf("one that is fresh was renewed: %v", err)
	}
}

// posing shows another certificate, and has another key, than the node.
type posing struct {
	*identity.Node
	cert tls.Certificate
}

func (p posing) Certificate() *tls.Certificate { return &p.cert }

func pose(t *testing.T, as *identity.Node, issue func(*certs.Authority, any) ([]byte, error)) posing {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := certs.NewAuthority(rand.Reader, as.Site(), "mallory", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := issue(authority, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return posing{as, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}
}

func TestWhoIsNotRenewed(t *testing.T) {
	site := newTestSite(t, "reef")
	away, removed := site.newNode("n2"), site.newNode("n3")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	outcome, err := site.voter.Propose(ctx, &sitev1.Entry{RequestId: "evict", Principal: "admin",
		Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: "n3"}}})
	if err != nil || outcome.GetErrorKind() != "" {
		t.Fatal(outcome, err)
	}
	node := func(name string) func(*certs.Authority, any) ([]byte, error) {
		return func(a *certs.Authority, key any) ([]byte, error) {
			return a.IssueNode(certs.NodeRequest{Name: name, PublicKey: key}, time.Now())
		}
	}
	for name, c := range map[string]struct {
		who  identity.Renewable
		says string
	}{
		"a node that was evicted":           {removed, "removed|evicted|revoked"},
		"another key under a node's name":   {pose(t, away, node("n2")), "another key"},
		"a name that is not on record":      {pose(t, away, node("n9")), "no record"},
		"an operator that is not on record": {pose(t, away, func(a *certs.Authority, key any) ([]byte, error) { return a.IssueOperator("eve", key, time.Now()) }), "no record"},
		"another key under an operator's":   {pose(t, away, func(a *certs.Authority, key any) ([]byte, error) { return a.IssueOperator("admin", key, time.Now()) }), "another key"},
		// In its handshake: how the client hears of it depends on who writes first.
		"a workload": {pose(t, away, func(a *certs.Authority, key any) ([]byte, error) {
			return a.IssueWorkload("default", "web", nil, key, time.Now(), time.Hour)
		}), ""},
	} {
		renewed, err := identity.Renew(t.Context(), env.NewSystem(), c.who, []string{site.address}, true)
		said := false
		for _, want := range strings.Split(c.says, "|") {
			said = said || err != nil && strings.Contains(err.Error(), want)
		}
		if renewed || !said {
			t.Errorf("%s: %t, %v, want %q", name, renewed, err, c.says)
		}
	}
}

func TestAnOperatorsCredentialsAreRenewedByTheNextCommand(t *testing.T) {
	site := newTestSite(t, "reef")
	home := t.TempDir()
	t.Setenv("SKERRY_HOME", home)
	if _, err := site.join(site.token("operator", "mara"), home); err != nil {
		t.Fatal(err)
	}
	svid := filepath.Join(home, "reef", "svid.pem")
	before, err := os.ReadFile(svid)
	if err != nil {
		t.Fatal(err)
	}
	site.pass(400 * 24 * time.Hour)
	if renewed, err := identity.Renew(t.Context(), env.NewSystem(), site.node, []string{site.address}, true); err != nil || !renewed {
		t.Fatalf("the voter's own was not renewed: %v", err)
	}
	// Several commands at once, none of which knows how late it is.
	failures := make(chan error, 4)
	for range cap(failures) {
		go func() {
			failures <- func() error {
				c, err := dialSite(t.Context(), env.NewSystem(), cli.Target{Site: "reef", Addresses: []string{site.address}})
				if err != nil {
					return err
				}
				_, err = c.Resources().List(t.Context(), connect.NewRequest(&skerryv1.ListRequest{Kind: "Node", Stale: true}))
				return err
			}()
		}()
	}
	for range cap(failures) {
		if err := <-failures; err != nil {
			t.Errorf("a command failed: %v", problem.FromConnect(err))
		}
	}
	after, err := os.ReadFile(svid)
	if err != nil || string(after) == string(before) {
		t.Errorf("the SVID on the disk is the old one: %v", err)
	}
	operator, err := identity.LoadOperator(env.NewSystem(), home, "reef")
	if err != nil {
		t.Fatal(err)
	}
	if late := time.Until(operator.Now()); late < 399*24*time.Hour || operator.Due() {
		t.Errorf("the credentials know that it is %s later, and are due: %t", late, operator.Due())
	}
}

// An operator's machine with its clock in another decade is no reason to be
// locked out, nor is a node's SVID that has expired a reason to trust it.
func TestExpiredNodesAreNotTrustedByThoseWhoKnowTheTime(t *testing.T) {
	site := newTestSite(t, "reef")
	away := site.newNode("n2")
	away.SiteTime().Observe(sitetime.Stamp{Time: time.Now().AddDate(2, 0, 0)})
	err := site.admits(away)
	if !errors.Is(err, certs.ErrExpired) {
		t.Errorf("a voter whose SVID has expired gave %v", err)
	}
}

// cutOff is a voter that nobody hears: it knows how the site began, and the time
// of then.
type cutOff struct{ time sitetime.Stamp }

var errCutOff = errors.New("it is cut off")

func (cutOff) Propose(context.Context, *sitev1.Entry) (*sitev1.Outcome, error) { return nil, errCutOff }
func (cutOff) ReadIndex(context.Context) (uint64, error)                       { return 0, errCutOff }
func (cutOff) Status() consensus.Status                                        { return consensus.Status{} }
func (c cutOff) Read() sitetime.Stamp                                          { return c.time }
func (cutOff) Clocks() map[string]time.Time                                    { return nil }
func (cutOff) Median() (time.Time, bool)                                       { return time.Time{}, false }
func (cutOff) Set(context.Context, *sitev1.Entry, time.Time, bool) (*sitev1.Outcome, error) {
	return nil, errCutOff
}

// serve is where it answers whoever renews.
func (c cutOff) serve(t *testing.T, site *testSite) string {
	t.Helper()
	store := state.New()
	begin := &sitev1.Entry{Time: timestamppb.New(c.time.Time), Change: &sitev1.Entry_InitSite{InitSite: site.init}}
	if outcome := store.Apply(1, begin); outcome.GetErrorKind() != "" {
		t.Fatal(outcome)
	}
	mux := http.NewServeMux()
	mux.Handle(sitev1connect.NewRenewServiceHandler(api.Renew{Log: c, Store: store, Authority: site.node.Authority, SiteTime: c}))
	server := mtls.NewServer(site.node, slog.New(slog.DiscardHandler))
	server.HandleHTTP([]string{mtls.Renew}, func(certs.Peer) error { return nil }, mux)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return listener.Addr().String()
}

// A voter that was cut off, and replaced meanwhile, asks itself first: it finds its
// SVID in order, which all others refuse.
func TestAVoterThatKnowsLessIsNotTheLastToBeAsked(t *testing.T) {
	site := newTestSite(t, "reef")
	site.token("node", "") // it is open
	behind := cutOff{site.node.SiteTime().Read()}.serve(t, site)
	site.pass(400 * 24 * time.Hour)
	if renewed, err := identity.Renew(t.Context(), env.NewSystem(), site.node, []string{behind}, false); renewed || err != nil {
		t.Fatalf("the voter that is cut off alone gave %t, %v", renewed, err)
	}
	if renewed, err := identity.Renew(t.Context(), env.NewSystem(), site.node, []string{behind, site.address}, false); !renewed || err != nil {
		t.Fatalf("with one that is not, after it: %t, %v", renewed, err)
	}
	if err := site.admits(site.node); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
}
