package dispatcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// testSite is a state with a log that commits at once, or fails.
type testSite struct {
	t      *testing.T
	store  *state.Store
	server *httptest.Server

	mu    sync.Mutex
	index uint64
	fails error
}

func (s *testSite) Propose(_ context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return nil, s.fails
	}
	s.index++
	entry.Time = &timestamppb.Timestamp{Seconds: int64(s.index)}
	return s.store.Apply(s.index, entry), nil
}

func (s *testSite) Status() consensus.Status { return consensus.Status{Term: 2, Serving: true} }
func (s *testSite) Changed() <-chan struct{} { return nil }

func (s *testSite) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func (s *testSite) must(entry *sitev1.Entry) {
	s.t.Helper()
	if outcome, err := s.Propose(s.t.Context(), entry); err != nil || outcome.GetErrorKind() != "" {
		s.t.Fatal(err, outcome)
	}
}

func (s *testSite) changeVoters(change *sitev1.VoterChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	s.store.ApplyVoterChange(s.index, change)
}

func (s *testSite) remove(node string) {
	s.must(&sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{Kind: "Node", Name: node}}})
}

func (s *testSite) join(name, as string) {
	secret := key("secret of " + as)
	s.must(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: as, Role: "node", Name: name, Expires: &timestamppb.Timestamp{Seconds: 1000}},
		SecretHash: secret,
	}}})
	s.must(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: secret, KeyFingerprint: key(as), Node: &skerryv1.Node{},
	}}})
}

func key(of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return sum[:]
}

// newTestSite is a site of the voter n1 and the learner n2, which calls.
func newTestSite(t *testing.T) *testSite {
	t.Helper()
	s := &testSite{t: t, store: state.New()}
	body, err := proto.Marshal(&sitev1.TrustBody{Site: "harbour", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(body)
	s.must(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "harbour", SiteId: hex.EncodeToString(digest[:]), Trust: &sitev1.TrustVersion{Body: body},
		Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: key("admin")},
		Node:     &skerryv1.Node{Name: "n1", KeyFingerprint: key("n1")}, GossipKey: make([]byte, 32),
	}}})
	s.join("n2", "n2")
	s.changeVoters(&sitev1.VoterChange{AddNode: "n2", AddRaftId: 2, Role: skerryv1.VoterRole_VOTER_ROLE_LEARNER})
	system := env.NewSystem()
	recipient, err := envelope.NewRecipient(system.Rand)
	if err != nil {
		t.Fatal(err)
	}
	d := New(s, s.store, secrets.New("n1", recipient, system.Rand), system.Clock, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	_, handler := sitev1connect.NewSyncServiceHandler(d)
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer := certs.Peer{Role: certs.RoleNode, Name: "n2", KeyFingerprint: key("n2")}
		handler.ServeHTTP(w, r.WithContext(mtls.WithPeer(r.Context(), peer)))
	}))
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
		stop()
		<-ran
	})
	return s
}

// stream of n2, which has told all about itself.
type stream struct {
	t *testing.T
	*connect.BidiStreamForClient[sitev1.SyncRequest, sitev1.SyncResponse]
}

func (s *testSite) sync() stream {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	s.t.Cleanup(cancel)
	opened := sitev1connect.NewSyncServiceClient(s.server.Client(), s.server.URL).Sync(ctx)
	// When it fails, the first answer says why.
	_ = opened.Send(&sitev1.SyncRequest{ReportNumber: 1, Message: &sitev1.SyncRequest_Hello{
		Hello: &sitev1.SyncHello{Report: &sitev1.NodeReport{}},
	}})
	return stream{t: s.t, BidiStreamForClient: opened}
}

// orders are the next that come; nil with the error that ended the stream.
func (s stream) orders() (*sitev1.Assignments, error) {
	for {
		response, err := s.Receive()
		if err != nil {
			return nil, problem.FromConnect(err)
		}
		if orders := response.GetAssignments(); orders != nil {
			return orders, nil
		}
	}
}

func (s stream) wantReplica(id uint64) {
	s.t.Helper()
	if orders, err := s.orders(); err != nil || orders.GetRaftId() != id {
		s.t.Fatalf("replica %d was expected: %v, %v", id, orders, err)
	}
}

func (s stream) wantEnd(kind problem.Kind) {
	s.t.Helper()
	if orders, err := s.orders(); err == nil || problem.KindOf(err) != kind {
		s.t.Fatalf("it goes on with %v, or ended for another reason: %v", orders, err)
	}
}

// An agent sends only what changes: a report that gets lost would be missing
// until the next change, and that a placement is gone is said once.
func TestAReportThatGotLostEndsTheStream(t *testing.T) {
	s := newTestSite(t)
	opened := s.sync()
	opened.wantReplica(2)
	s.fail(problem.New(problem.Timeout, "log", "no majority confirmed it in time"))
	if err := opened.Send(&sitev1.SyncRequest{ReportNumber: 2, Message: &sitev1.SyncRequest_Report{
		Report: &sitev1.NodeReport{Facts: &sitev1.NodeFacts{Version: "2"}},
	}}); err != nil {
		t.Fatal(err)
	}
	opened.wantEnd(problem.Timeout)
	s.fail(nil)
	s.sync().wantReplica(2)
}

func TestANodeThatWasRemovedGetsNoOrdersButItsLast(t *testing.T) {
	s := newTestSite(t)
	opened := s.sync()
	opened.wantReplica(2)
	s.remove("n2")
	opened.wantReplica(2) // its replica is still one of the group
	s.changeVoters(&sitev1.VoterChange{RemoveNode: "n2", RemoveRaftId: 2})
	opened.wantReplica(0)
	opened.wantEnd(problem.Forbidden)
	s.sync().wantEnd(problem.Forbidden)
}

func TestANodeThatWasRemovedGetsNoGossipKeys(t *testing.T) {
	s := newTestSite(t)
	if orders := Assignments(s.store.View(), "n2", 2); len(orders.GetGossipKey()) == 0 || orders.GetGossip() == nil {
		t.Fatalf("a node of the site gets none either: %v", orders)
	}
	s.remove("n2")
	s.must(&sitev1.Entry{Change: &sitev1.Entry_RotateGossip{RotateGossip: &sitev1.RotateGossip{Key: key("next")}}})
	if orders := Assignments(s.store.View(), "n2", 2); len(orders.GetGossipKey()) > 0 || orders.GetGossip() != nil {
		t.Errorf("it was sent the keys of now: %v", orders.GetGossip())
	}
}

func TestANodeWhoseNameAnotherOneGotIsToldNothing(t *testing.T) {
	s := newTestSite(t)
	s.changeVoters(&sitev1.VoterChange{RemoveNode: "n2", RemoveRaftId: 2})
	opened := s.sync()
	opened.wantReplica(0)
	s.remove("n2")
	s.join("n2", "n2-next")
	for {
		orders, err := opened.orders()
		if err != nil {
			if problem.KindOf(err) != problem.Forbidden {
				t.Fatal(err)
			}
			break
		}
		for _, peer := range orders.GetPeers() {
			if peer.GetName() == "n2" && string(peer.GetKeyFingerprint()) != string(key("n2")) {
				t.Fatal("it was told of its successor, as if it were that")
			}
		}
	}
}
