package dispatcher

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/orders"
	"skerry.dev/shared/problem"
)

// testSite is a state with a log that commits at once, or fails.
type testSite struct {
	t     *testing.T
	store *state.Store
	serve func(net.Conn)

	dispatcher *Dispatcher

	mu    sync.Mutex
	index uint64
	fails error
	// status of the log, and what is closed when it changes.
	status  consensus.Status
	changed chan struct{}
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

func (s *testSite) Status() consensus.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *testSite) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *testSite) change(status consensus.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
	close(s.changed)
	s.changed = make(chan struct{})
}

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

func (s *testSite) plan(p *sitev1.Plan) {
	s.t.Helper()
	p.BaseIndex = s.store.View().Index()
	s.must(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: p}})
}

// place a workload of one replica on a node.
func (s *testSite) place(w *skerryv1.Workload, node string) {
	s.t.Helper()
	s.must(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: w}}},
	}}})
	generation := s.store.View().Workload(w.GetProject(), w.GetName()).GetGeneration()
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{{Project: w.GetProject(), Workload: w.GetName(), Generation: generation}}})
	s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{{Project: w.GetProject(), Placement: w.GetName() + "-1", Node: node}}})
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
	s := &testSite{t: t, store: state.New(), status: consensus.Status{Term: 2, IsLeader: true, Serving: true}, changed: make(chan struct{})}
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
	s.dispatcher = d
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	var open sync.WaitGroup
	s.serve = func(conn net.Conn) {
		open.Go(func() {
			defer func() { _ = conn.Close() }()
			peer := certs.Peer{Role: certs.RoleNode, Name: "n2", KeyFingerprint: key("n2")}
			d.Serve(mtls.WithPeer(ctx, peer), conn, guard.New(guard.Config{
				Who:   func(context.Context) access.Principal { return access.PrincipalOf("spiffe://harbour/node/n2") },
				Bound: func(node string, object access.Object) bool { return object.Name == node },
			}))
		})
	}
	t.Cleanup(func() {
		stop()
		<-ran
		open.Wait()
	})
	return s
}

// client is n2's end of a stream, on which it has told all about itself.
type client struct {
	t *testing.T
	*mtls.Messages
}

// dial returns n2's end of a connection that is served.
func (s *testSite) dial() net.Conn {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	here, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = here.Close() })
	there, err := listener.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	s.serve(there)
	return here
}

func (s *testSite) sync() client { return s.syncAs("n2") }

func (s *testSite) syncAs(node string) client {
	s.t.Helper()
	opened := mtls.NewMessages(s.dial(), 64<<20, time.Minute)
	// When it fails, the first answer says why.
	_ = opened.Send(&sitev1.SyncRequest{ReportNumber: 1, Message: &sitev1.SyncRequest_Hello{
		Hello: &sitev1.SyncHello{Node: node, Report: &sitev1.NodeReport{}},
	}})
	return client{t: s.t, Messages: opened}
}

// orders are the next that come; nil with the error that ended the stream.
func (s client) orders() (*sitev1.Assignments, error) {
	for {
		response := &sitev1.SyncResponse{}
		if err := s.Receive(response); err != nil {
			return nil, err
		}
		if end := response.GetEnd(); end != nil {
			return nil, orders.Reason(end)
		}
		if orders := response.GetAssignments(); orders != nil {
			return orders, nil
		}
	}
}

func (s client) wantReplica(id uint64) {
	s.t.Helper()
	if orders, err := s.orders(); err != nil || orders.GetRaftId() != id {
		s.t.Fatalf("replica %d was expected: %v, %v", id, orders, err)
	}
}

func (s client) wantEnd(kind problem.Kind) {
	s.t.Helper()
	if orders, err := s.orders(); err == nil || problem.KindOf(err) != kind {
		s.t.Fatalf("it goes on with %v, or ended for another reason: %v", orders, err)
	}
}

// A coordinator that was elected a moment ago has not committed anything yet; one that
// hands its office over has a successor soon.
func TestANodeWaitsForWhoTakesOffice(t *testing.T) {
	s := newTestSite(t)
	s.change(consensus.Status{Term: 3, IsLeader: true, Leader: 1})
	early := s.sync()
	time.AfterFunc(OfficeTime/10, func() { s.change(consensus.Status{Term: 3, IsLeader: true, Leader: 1, Serving: true}) })
	early.wantReplica(2)

	s.change(consensus.Status{Term: 3, IsLeader: true, Leader: 1})
	handed := s.sync()
	time.AfterFunc(OfficeTime/10, func() { s.change(consensus.Status{Term: 4, Leader: 2}) })
	handed.wantRedirect("n2")

	s.change(consensus.Status{Term: 5, IsLeader: true, Leader: 1})
	begun := time.Now()
	s.sync().wantRedirect("n1")
	if took := time.Since(begun); took < OfficeTime {
		t.Errorf("it was sent away after %s", took)
	}
	s.change(consensus.Status{Term: 5, Leader: 2})
	s.sync().wantRedirect("n2")
}

// wantRedirect to a coordinator.
func (s client) wantRedirect(to string) {
	s.t.Helper()
	response := &sitev1.SyncResponse{}
	if err := s.Receive(response); err != nil || response.GetRedirect() == nil || response.GetRedirect().GetCoordinator() != to {
		s.t.Fatalf("%v, %v, not sent to %q", response, err, to)
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
	if orders := SiteOf(s.store.View()).Own("n2", 2); len(orders.GetGossipKey()) == 0 || orders.GetGossip() == nil {
		t.Fatalf("a node of the site gets none either: %v", orders)
	}
	s.remove("n2")
	s.must(&sitev1.Entry{Change: &sitev1.Entry_RotateGossip{RotateGossip: &sitev1.RotateGossip{Key: key("next")}}})
	if orders := SiteOf(s.store.View()).Own("n2", 2); len(orders.GetGossipKey()) > 0 || orders.GetGossip() != nil {
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

func TestAStreamForAnotherNodeIsRefused(t *testing.T) {
	newTestSite(t).syncAs("n1").wantEnd(problem.Forbidden)
}

func TestWhatIsNoMessageEndsTheStream(t *testing.T) {
	s := newTestSite(t)
	here := s.dial()
	if _, err := here.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil { // a length that nobody takes
		t.Fatal(err)
	}
	client{t: t, Messages: mtls.NewMessages(here, 64<<20, time.Minute)}.wantEnd(problem.Exhausted)
}

// steps are endpoints in so many differences, after the first.
type steps struct {
	after uint64
	moved chan struct{}
}

func (s steps) Begin(digest uint64) (*sitev1.EndpointsResponse, uint64, uint64) {
	return &sitev1.EndpointsResponse{Digest: digest}, 7, 0
}

func (s steps) Next(term, at uint64) (*sitev1.EndpointsResponse, uint64, <-chan struct{}, bool) {
	if at == s.after || term != 7 {
		return nil, at, s.moved, term != 7
	}
	return &sitev1.EndpointsResponse{Digest: 100 + at}, at + 1, nil, false
}

func TestANodeThatAsksForEndpointsGetsAllOfThemInTurn(t *testing.T) {
	s := newTestSite(t)
	s.dispatcher.Names = steps{after: 3, moved: make(chan struct{})}
	opened := mtls.NewMessages(s.dial(), 64<<20, time.Minute)
	if err := opened.Send(&sitev1.SyncRequest{Message: &sitev1.SyncRequest_Hello{Hello: &sitev1.SyncHello{Node: "n2", Endpoints: proto.Uint64(5)}}}); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for len(got) < 4 {
		response := &sitev1.SyncResponse{}
		if err := opened.Receive(response); err != nil {
			t.Fatal(err)
		}
		if e := response.GetEndpoints(); e != nil {
			got = append(got, e.GetDigest())
		}
	}
	if diff := cmp.Diff([]uint64{5, 100, 101, 102}, got); diff != "" {
		t.Errorf("what came (-want +got):\n%s", diff)
	}
}
