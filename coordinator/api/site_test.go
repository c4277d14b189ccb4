package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/audit/leafstore"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/pebblelog"
	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/sitetime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// apiSite is a site of one voter, with the real state and the real log.
type apiSite struct {
	t     *testing.T
	store *state.Store
	node  *consensus.Node
	// away: the log looks as on a voter that another one leads, or that reaches
	// nobody.
	away atomic.Pointer[consensus.Status]
	// carried is what a coordinator elsewhere was sent; carry, if set, is called in its
	// place.
	carried []*http.Request
	carry   func()
	server  *Server
	clocks  clocks
	// recipient is the node's sealing key.
	recipient *envelope.Recipient
	refusals  *counts.Counts
	reads     *counts.Counts
	execs     execLog
	// own are the placements that the node holds.
	own []*sitev1.PlacementReport
}

// stamped is the log as the API sees it.
type stamped struct{ *apiSite }

func (s stamped) Propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error) {
	entry.Time = timestamppb.Now()
	return s.node.Propose(ctx, entry)
}

func (s stamped) ReadIndex(ctx context.Context) (uint64, error) {
	if s.away.Load() != nil {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return s.node.ReadIndex(ctx)
}

func (s stamped) Status() consensus.Status {
	if status := s.away.Load(); status != nil {
		return *status
	}
	return s.node.Status()
}

// RoundTrip is the way to a coordinator elsewhere.
func (s stamped) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.carry != nil {
		s.carry()
	} else {
		s.carried = append(s.carried, r)
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("{}")), Header: http.Header{"Content-Type": {"application/json"}}}, nil
}

func newAPISite(t *testing.T) *apiSite {
	t.Helper()
	system, logger := env.NewSystem(), slog.New(slog.DiscardHandler)
	log, err := pebblelog.Open(vfs.NewMem(), "/raft", logger)
	if err != nil {
		t.Fatal(err)
	}
	s := &apiSite{t: t, store: state.New(), clocks: clocks{stamp: sitetime.Stamp{Time: time.Now()}}, refusals: &counts.Counts{Node: "n1"}, reads: &counts.Counts{Node: "n1"}}
	leaves, err := leafstore.Open(vfs.NewMem(), "/audit", logger, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := consensus.Bootstrap(log, 1, s.store); err != nil {
		t.Fatal(err)
	}
	replica, err := consensus.NewReplica(consensus.Config{
		ID: 1, Log: log, Machine: s.store, Kept: keep(s.store, leaves), Send: func([]*consensus.Message) {}, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Campaign(); err != nil {
		t.Fatal(err)
	}
	s.node = consensus.NewNode(replica, system.Clock, logger)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.node.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
		if err := errors.Join(leaves.Close(), log.Close()); err != nil {
			t.Error(err)
		}
	})
	recipient, err := envelope.NewRecipient(system.Rand)
	if err != nil {
		t.Fatal(err)
	}
	s.recipient = recipient
	s.server = New(Config{
		Node: "n1", Site: "reef", Log: stamped{s}, Store: s.store, Secrets: secrets.New("n1", recipient, system.Rand),
		NodeClient: func(string) connect.HTTPClient { return http.DefaultClient },
		Transport:  func(string) http.RoundTripper { return stamped{s} },
		Waiting:    func() string { return "" }, Reported: func() []string { return []string{"n1"} },
		Leaves: leaves, Refused: s.refusals, Reads: s.reads, Execs: &s.execs,
		SiteTime: &s.clocks, Own: func() []*sitev1.PlacementReport { return s.own },
		Clock: system.Clock, Rand: system.Rand, Logger: logger,
	})
	s.open(system)
	return s
}

// open waits until the replica leads, and makes the site.
func (s *apiSite) open(system env.System) {
	s.t.Helper()
	authority, err := certs.NewAuthority(system.Rand, "reef", "n1", time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	trust, err := certs.FirstTrust("reef", authority)
	if err != nil {
		s.t.Fatal(err)
	}
	for !s.node.Status().Serving {
		changed := s.node.Changed()
		if s.node.Status().Serving {
			break
		}
		select {
		case <-changed:
		case <-time.After(time.Minute):
			s.t.Fatal("nobody leads")
		}
	}
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "reef", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: make([]byte, 32),
		Operator: &sitev1.OperatorRecord{Name: "mia", KeyFingerprint: key("mia")},
		Node:     &skerryv1.Node{Name: "n1", Address: "n1:7600", KeyFingerprint: key("n1")},
	}}})
	for _, name := range []string{"n2", "n3"} {
		s.commit(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token:      &skerryv1.Token{Id: "t-" + name, Role: "node", Expires: timestamppb.New(time.Now().Add(time.Hour))},
			SecretHash: key("secret of " + name),
		}}})
		s.commit(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
			SecretHash: key("secret of " + name), KeyFingerprint: key(name), Node: &skerryv1.Node{Name: name, Address: name + ":7600"},
		}}})
	}
}

func (s *apiSite) commit(entry *sitev1.Entry) {
	s.t.Helper()
	entry.RequestId = s.server.newID()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	outcome, err := stamped{s}.Propose(ctx, entry)
	if err != nil || outcome.GetErrorKind() != "" {
		s.t.Fatalf("%T: %v %v", entry.GetChange(), outcome, err)
	}
}

// asVoter makes a node's record one of a voter's. The log of the test goes on
// with its one replica.
func (s *apiSite) voter(name string) {
	s.t.Helper()
	data, err := s.store.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	other := state.New()
	if err := other.Restore(data); err != nil {
		s.t.Fatal(err)
	}
	other.ApplyVoterChange(other.View().Index()+1, &sitev1.VoterChange{AddNode: name, AddRaftId: 2, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	s.server.Store = other
}

// key stands for the SHA-256 of a public key.
func key(of string) []byte { return bytes.Repeat([]byte(of+"/"), 32)[:32] }

func operator(name string) certs.Peer { return peer(certs.RoleOperator, name) }

func peer(role certs.Role, name string) certs.Peer {
	return certs.Peer{
		ID: spiffeid.RequireFromString("spiffe://reef/" + string(role) + "/" + name), Role: role, Name: name, KeyFingerprint: key(name),
	}
}

// answer of the API to one call.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

// call sends JSON over HTTP/2, on a connection of that peer.
func (s *apiSite) call(from *certs.Peer, method, body string, headers ...string) answer {
	s.t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from != nil {
			r = r.WithContext(mtls.WithPeer(r.Context(), *from))
		}
		s.server.ServeHTTP(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, server.URL+"/skerry.v1."+method, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := server.Client().Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.ProtoMajor != 2 {
		s.t.Errorf("the call went over %s", response.Proto)
	}
	data, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: map[string]any{}}
	if err := json.Unmarshal(data, &a.body); err != nil {
		s.t.Fatalf("%d %q: %v", response.StatusCode, data, err)
	}
	return a
}

// code of the error, empty when it went well.
func (a answer) code() string {
	code, _ := a.body["code"].(string)
	return code
}

func (a answer) message() string {
	message, _ := a.body["message"].(string)
	return message
}

// contents of the state, to see that nothing has changed.
func (s *apiSite) contents() string {
	s.t.Helper()
	data, err := s.store.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	snapshot := &sitev1.Snapshot{}
	if err := proto.Unmarshal(data, snapshot); err != nil {
		s.t.Fatal(err)
	}
	snapshot.Index, snapshot.Hash, snapshot.Time, snapshot.Requests = 0, 0, nil, nil
	return snapshot.String()
}

// keeper brings the leaves of the audit log to where they are kept.
type keeper struct {
	leaves  *leafstore.Store
	pending []audit.Leaf
}

func keep(store *state.Store, leaves *leafstore.Store) *keeper {
	k := &keeper{leaves: leaves}
	store.OnLeaf(func(leaf audit.Leaf) { k.pending = append(k.pending, leaf) })
	return k
}

func (k *keeper) Flush() error {
	defer func() { k.pending = nil }()
	return k.leaves.Append(k.pending)
}

func (k *keeper) Sync() error { return k.leaves.Sync() }
