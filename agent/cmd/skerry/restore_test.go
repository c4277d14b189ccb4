package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/backup"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// left is a node of a site that answers on loopback, though its CA may be newer than
// the backup.
type left struct {
	*identity.Node
	sitev1connect.UnimplementedPeerServiceHandler
	sitev1connect.UnimplementedJoinServiceHandler
	cert    tls.Certificate
	says    *sitev1.PingResponse
	address string
}

func (l *left) Certificate() *tls.Certificate { return &l.cert }

// issued by another CA of the site, the node shows a new SVID.
func (l *left) issued(t *testing.T, by *certs.Authority) {
	t.Helper()
	svid, err := by.IssueNode(certs.NodeRequest{Name: l.Name(), PublicKey: l.Leaf().PublicKey}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	l.cert.Certificate = [][]byte{svid}
	if l.cert.Leaf, err = x509.ParseCertificate(svid); err != nil {
		t.Fatal(err)
	}
}

func (l *left) Ping(context.Context, *connect.Request[sitev1.PingRequest]) (*connect.Response[sitev1.PingResponse], error) {
	return connect.NewResponse(l.says), nil
}

func (l *left) Trust(_ context.Context, req *connect.Request[sitev1.TrustRequest]) (*connect.Response[sitev1.TrustResponse], error) {
	page, more := certs.TrustPage(l.Node.Trust(), req.Msg.GetAfter())
	return connect.NewResponse(&sitev1.TrustResponse{Versions: page, More: more, SiteEpoch: l.Bundle().SiteEpoch(), Recovered: l.Bundle().RecoverID()}), nil
}

func (l *left) serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.address = listener.Addr().String()
	peers, joins := http.NewServeMux(), http.NewServeMux()
	peers.Handle(sitev1connect.NewPeerServiceHandler(l))
	joins.Handle(sitev1connect.NewJoinServiceHandler(l))
	server := mtls.NewServer(l, slog.New(slog.DiscardHandler))
	server.HandleHTTP([]string{mtls.Peer}, mtls.ExpectNode(""), peers)
	server.HandleHTTP([]string{mtls.Join}, nil, joins)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() { stop(); <-ended })
}

// newLeft is n1, the only voter of a site at the time of the backup.
func newLeft(t *testing.T) *left {
	t.Helper()
	system, state := env.NewSystem(), t.TempDir()
	_, err := identity.InitSite(system, identity.InitOptions{
		Site: "harbour", Operator: "admin", StateDir: state, Home: t.TempDir(),
		Node: &skerryv1.Node{Name: "n1", Address: "127.0.0.1:1"}, Keep: func(*sitev1.InitSite) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	l := &left{says: &sitev1.PingResponse{SiteEpoch: 1}}
	if l.Node, err = identity.Load(system, identity.Dir(state)); err != nil {
		t.Fatal(err)
	}
	l.cert = *l.Node.Certificate()
	return l
}

// grow the chain of trust that the node believes.
func (l *left) grow(t *testing.T, change certs.TrustChange) {
	t.Helper()
	chain := l.Node.Trust()
	next, err := certs.ExtendTrust(chain[len(chain)-1], l.Authority(), change)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.UpdateTrust(append(slices.Clone(chain), next)); err != nil {
		t.Fatal(err)
	}
}

// surveyAt is the question of a machine n9 on which a backup of the site is to be
// restored, that was made at index 100 in term 4; then something happened.
func (l *left) surveyAt(t *testing.T, since func(), nodes ...*skerryv1.Node) *survey {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(l.Authority().Key())
	if err != nil {
		t.Fatal(err)
	}
	snapshot := &sitev1.Snapshot{
		Site: "harbour", SiteId: l.SiteID(), SiteEpoch: 1, Index: 100, Audit: &sitev1.AuditState{Term: 4}, Trust: l.Node.Trust(),
		Time: timestamppb.New(time.Now().Add(-400 * 24 * time.Hour)), Nodes: nodes,
	}
	encoded, err := proto.Marshal(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	file := &backup.File{Content: &sitev1.BackupContent{State: encoded, AuthorityKey: key, Authority: l.Authority().Certificate().Raw}}
	if since != nil {
		since()
	}
	o, self := &restoreOptions{system: env.NewSystem()}, &skerryv1.Node{Name: "n9", Address: "127.0.0.1:2"}
	_, view, err := o.look("backup", file, self)
	if err != nil {
		t.Fatal(err)
	}
	s, err := o.survey(file, snapshot, view, self)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestASiteIsNotRestoredWhileItLives(t *testing.T) {
	for _, test := range []struct {
		name    string
		voters  int
		says    *sitev1.PingResponse
		since   func(*left)
		refused string
		unheard string
	}{
		{name: "it has no replica", voters: 3, says: &sitev1.PingResponse{SiteEpoch: 1}, unheard: "Not reached: n2 (voter, 127.0.0.1:1), n3 (voter, 127.0.0.1:1).\n"},
		{name: "its log is as new", voters: 3, says: &sitev1.PingResponse{SiteEpoch: 1, LastTerm: 4, LastIndex: 100}, unheard: "n2 (voter, "},
		{name: "its log is older", voters: 3, says: &sitev1.PingResponse{SiteEpoch: 1, LastTerm: 4, LastIndex: 90}, unheard: "n2 (voter, "},
		{name: "the only voter has halted", voters: 1, says: &sitev1.PingResponse{SiteEpoch: 1}},
		{name: "its log is newer", voters: 3, says: &sitev1.PingResponse{SiteEpoch: 1, LastTerm: 4, LastIndex: 101}, refused: "has a newer log: it ends at 4.101, the backup at 4.100"},
		{name: "it reaches a coordinator", voters: 3, says: &sitev1.PingResponse{SiteEpoch: 1, Quorum: true}, refused: "reaches a coordinator"},
		{name: "the site was recovered", voters: 3, says: &sitev1.PingResponse{SiteEpoch: 2}, refused: "recovered already: n1"},
		{
			name: "its CA is newer than the backup", voters: 3, says: &sitev1.PingResponse{SiteEpoch: 1, Quorum: true}, refused: "reaches a coordinator",
			since: func(l *left) {
				other, err := certs.NewAuthority(env.NewSystem().Rand, "harbour", "n1", time.Now())
				if err != nil {
					t.Fatal(err)
				}
				l.grow(t, certs.TrustChange{Add: []*x509.Certificate{other.Certificate()}})
				l.issued(t, other)
			},
		},
		{
			name: "the CA of the backup counts no more", voters: 3, refused: "refuses whoever comes with the backup",
			since: func(l *left) {
				other, err := certs.NewAuthority(env.NewSystem().Rand, "harbour", "n2", time.Now())
				if err != nil {
					t.Fatal(err)
				}
				l.grow(t, certs.TrustChange{Add: []*x509.Certificate{other.Certificate()}})
				l.grow(t, certs.TrustChange{Drop: []*x509.Certificate{l.Authority().Certificate()}})
				l.issued(t, other)
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLeft(t)
			l.says = test.says
			l.serve(t)
			nodes := []*skerryv1.Node{{Name: "n1", Address: l.address, Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER}}
			for i := 1; i < test.voters; i++ {
				nodes = append(nodes, &skerryv1.Node{Name: fmt.Sprintf("n%d", i+1), Address: "127.0.0.1:1", Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER})
			}
			since := func() {
				if test.since != nil {
					test.since(l)
				}
			}
			unheard, err := l.surveyAt(t, since, nodes...).look(t.Context())
			if test.refused != "" {
				if problem.KindOf(err) != problem.Conflict || !strings.Contains(err.Error(), test.refused) || !strings.Contains(err.Error(), l.address) {
					t.Errorf("it gave %q, %v", unheard, err)
				}
				return
			}
			if err != nil || !strings.Contains(unheard, test.unheard) || (unheard == "") != (test.unheard == "") || strings.Contains(unheard, "n1") {
				t.Errorf("it gave %q, %v", unheard, err)
			}
		})
	}
}

// Of a site that is off everybody is waited for at once, also those whose addresses
// take connections and say nothing.
func TestNodesThatAreGoneDelayARestoreByLittle(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	l := newLeft(t)
	var nodes []*skerryv1.Node
	for i := range 100 {
		nodes = append(nodes, &skerryv1.Node{Name: fmt.Sprintf("m%d", i), Address: mute.Addr().String()})
	}
	begun := time.Now()
	unheard, err := l.surveyAt(t, nil, nodes...).look(t.Context())
	if took := time.Since(begun); err != nil || took > 2*askTime || !strings.Contains(unheard, "m99") {
		t.Errorf("after %s it gave %q, %v", took, unheard, err)
	}
}
