package coordinator

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

// What waits for a minute after a recovery waits from when it began: the log may have
// stood still for long before.
func TestARecoveryIsOfTheTimeWhenItBegins(t *testing.T) {
	last := sitetime.Stamp{Time: time.Unix(5000, 0), Reference: time.Unix(4000, 0), Era: 3}
	for name, test := range map[string]struct{ wall, want time.Time }{
		"half an hour later":              {time.Unix(5000+1800, 0), time.Unix(5000+1800, 0)},
		"a day later":                     {time.Unix(5000+86400, 0), last.Reference.Add(sitetime.Slack)},
		"a clock that lost its battery":   {time.Unix(0, 0), last.Time},
		"a clock that is a little behind": {time.Unix(4990, 0), last.Time},
	} {
		got := recoveredAt(last, test.wall)
		if !got.Time.Equal(test.want) || !got.Reference.Equal(last.Reference) || got.Era != last.Era {
			t.Errorf("%s: it is of %v", name, got)
		}
	}
}

// awaited is a node of another recovery, and the source under which it is called.
type awaited struct {
	sitev1connect.UnimplementedPeerServiceHandler
	cert     tls.Certificate
	bundle   *certs.Bundle
	recovery []byte
	heard    *sitev1.PingRequest
}

func (a *awaited) Certificate() *tls.Certificate { return &a.cert }
func (a *awaited) Bundle() *certs.Bundle         { return a.bundle }
func (a *awaited) Now() time.Time                { return time.Now() }

func (a *awaited) Ping(_ context.Context, req *connect.Request[sitev1.PingRequest]) (*connect.Response[sitev1.PingResponse], error) {
	a.heard = req.Msg
	return connect.NewResponse(&sitev1.PingResponse{Node: "n2", SiteEpoch: 2, Recovery: a.recovery}), nil
}

func newAwaited(t *testing.T, recovery []byte) (node *awaited, address string) {
	t.Helper()
	system := env.NewSystem()
	authority, err := certs.NewAuthority(system.Rand, "harbour", "n2", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	trust, err := certs.FirstTrust("harbour", authority)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), system.Rand)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := authority.IssueNode(certs.NodeRequest{Name: "n2", PublicKey: key.Public()}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	node = &awaited{recovery: recovery, cert: tls.Certificate{Certificate: [][]byte{svid}, PrivateKey: key}}
	if node.cert.Leaf, err = x509.ParseCertificate(svid); err != nil {
		t.Fatal(err)
	}
	if node.bundle, err = certs.VerifyTrust(certs.SiteID(trust), []*sitev1.TrustVersion{trust}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(sitev1connect.NewPeerServiceHandler(node))
	server := mtls.NewServer(node, slog.New(slog.DiscardHandler))
	server.HandleHTTP([]string{mtls.Peer}, mtls.ExpectNode(""), mux)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() { stop(); <-ended })
	return node, listener.Addr().String()
}

// Where all nodes of one part of a site learned of the other part first, only what they
// answer tells the one that they are gone.
func TestWhoCallsHearsOfAnotherRecovery(t *testing.T) {
	own, others := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16)
	for name, recovery := range map[string][]byte{"of another recovery": others, "of none": nil} {
		node, address := newAwaited(t, recovery)
		snapshot, err := proto.Marshal(&sitev1.Snapshot{
			Index: 100, SiteEpoch: 2, Site: "harbour", Audit: &sitev1.AuditState{}, Recovery: &skerryv1.Recovery{SiteEpoch: 2, Id: hex.EncodeToString(own), Node: "n1"},
			Nodes: []*skerryv1.Node{{Name: "n1", Address: "n1:7600", SiteEpoch: 2}, {Name: "n2", Address: address}},
		})
		if err != nil {
			t.Fatal(err)
		}
		store := state.New()
		if err := store.RestoreOlder(snapshot); err != nil {
			t.Fatal(err)
		}
		told := ""
		v := &Voter{Config: Config{
			Node: "n1", Dialer: &mtls.Dialer{Net: env.NewSystem().Net, Source: node}, Logger: slog.New(slog.DiscardHandler),
			Recovered: func(_ context.Context, epoch uint64, recovery []byte, at string) {
				told = fmt.Sprintf("%d %x %s", epoch, recovery, at)
			},
		}}
		v.tellWhere(t.Context(), store.View(), store.View().Node("n2"))
		if node.heard.GetSiteEpoch() != 2 || !bytes.Equal(node.heard.GetRecovery(), own) || node.heard.GetAddress() != "n1:7600" {
			t.Errorf("%s: it was told %v", name, node.heard)
		}
		want := ""
		if recovery != nil {
			want = fmt.Sprintf("2 %x %s", others, address)
		}
		if told != want {
			t.Errorf("%s: the node that calls was told %q, want %q", name, told, want)
		}
	}
}
