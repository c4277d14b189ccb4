package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/ledger"
	"skerry.dev/agent/session"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// other is a node that gives its chain of trust to whoever asks.
type other struct {
	joinElsewhere
	trust   []*sitev1.TrustVersion
	address string
	asked   atomic.Int32
}

func (o *other) Trust(_ context.Context, req *connect.Request[sitev1.TrustRequest]) (*connect.Response[sitev1.TrustResponse], error) {
	o.asked.Add(1)
	page, more := certs.TrustPage(o.trust, req.Msg.GetAfter())
	bundle, err := certs.VerifyTrust(certs.SiteID(o.trust[0]), o.trust)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&sitev1.TrustResponse{Versions: page, More: more, SiteEpoch: bundle.SiteEpoch(), Recovered: bundle.RecoverID()}), nil
}

func (o *other) serve(t *testing.T, source mtls.Source) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.address = listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle(sitev1connect.NewJoinServiceHandler(o))
	server := mtls.NewServer(source, slog.New(slog.DiscardHandler))
	server.HandleHTTP([]string{mtls.Join}, nil, mux)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() { stop(); <-ended })
}

// called is a node of the site reef that others call.
type called struct {
	recoveries
	// tried are the addresses that its session turned to.
	tried chan string
}

func newCalled(t *testing.T) called {
	t.Helper()
	system, dir := env.NewSystem(), t.TempDir()
	_, err := identity.InitSite(system, identity.InitOptions{
		Site: "reef", Operator: "admin", StateDir: dir, Home: t.TempDir(),
		Node: &skerryv1.Node{Name: "n1", Address: "127.0.0.1:1"}, Keep: func(*sitev1.InitSite) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	a := &Agent{Options: Options{Env: system, Logger: slog.New(slog.DiscardHandler)}}
	if a.identity, err = identity.Load(system, identity.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	if a.ledger, err = ledger.Open(system.FS, dir); err != nil {
		t.Fatal(err)
	}
	a.dialer, a.renewal = &mtls.Dialer{Net: system.Net, Source: a.identity}, newRenewal(a)
	c := called{recoveries{a}, make(chan string, 16)}
	a.session = session.New(session.Config{
		Name: "n1", Ledger: fenced{Ledger: a.ledger, identity: a.identity}, Env: system, Logger: a.Logger, SiteTime: a.identity.SiteTime(),
		Lead: func() (session.Lead, <-chan struct{}) { return session.Lead{}, nil }, Refused: func(context.Context, string) {},
		Dial: func(_ context.Context, address string) (net.Conn, error) {
			c.tried <- address
			return nil, errors.New("nobody is there")
		},
	})
	return c
}

// begin a site epoch at the end of a chain, under an ID of many times the same.
func (c called) begin(t *testing.T, chain []*sitev1.TrustVersion, epoch uint64, id byte) []*sitev1.TrustVersion {
	t.Helper()
	version, err := certs.ExtendTrust(chain[len(chain)-1], c.identity.Authority(), certs.TrustChange{
		Recover: &sitev1.RecoverRecord{SiteEpoch: epoch, Id: recoveryID(id)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(chain), version)
}

func recoveryID(id byte) []byte { return bytes.Repeat([]byte{id}, 16) }

// Two recoveries apart from each other often have the same number. Whoever calls
// claims one; only the chain of trust shows it.
func TestANodeLearnsOfAForkFromWhoeverCalls(t *testing.T) {
	for _, test := range []struct {
		name string
		// ours and theirs are the IDs of the recoveries that each side had, claimed is
		// what the caller says of itself.
		ours, theirs []byte
		claimed      []byte
		forked       bool
		// asked is how often the chain is fetched in three calls; -1 for each time.
		asked int
		tried bool
	}{
		{"the same recovery", []byte{1}, []byte{1}, recoveryID(1), false, 0, true},
		{"one that is new here", nil, []byte{2}, recoveryID(2), false, 1, true},
		{"both were recovered once", []byte{1}, []byte{2}, recoveryID(2), true, 1, false},
		{"this one twice", []byte{1, 3}, []byte{2}, recoveryID(2), true, 1, false},
		{"the other one twice", []byte{1}, []byte{2, 3}, recoveryID(3), true, 1, false},
		{"it was left behind", []byte{1, 3}, []byte{1}, recoveryID(1), false, 0, true},
		{"a claim without a chain", []byte{1}, []byte{1}, recoveryID(9), false, -1, false},
		{"an older version says no ID", []byte{1}, []byte{2}, nil, false, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, them := newCalled(t), &other{}
			ours := c.identity.Trust()
			them.trust = ours
			for i, id := range test.ours {
				ours = c.begin(t, ours, uint64(i)+2, id)
			}
			for i, id := range test.theirs {
				if i < len(test.ours) && test.ours[i] == id {
					them.trust = ours[:len(them.trust)+1]
					continue
				}
				them.trust = c.begin(t, them.trust, uint64(i)+2, id)
			}
			if err := c.identity.UpdateTrust(ours); err != nil {
				t.Fatal(err)
			}
			them.serve(t, c.identity)
			for call := range 3 {
				before := them.asked.Load()
				c.Recovered(t.Context(), uint64(len(test.theirs))+1, test.claimed, them.address)
				asks := test.asked < 0 || call < test.asked
				if asked := them.asked.Load() > before; asked != asks {
					t.Errorf("call %d: the chain was asked for: %t", call, asked)
				}
			}
			if forked := c.identity.Forked() != ""; forked != test.forked {
				t.Errorf("it says %q", c.identity.Forked())
			}
			if tried := c.tries(t, them.address); tried != test.tried {
				t.Errorf("its session turns to the caller: %t", tried)
			}
		})
	}
}

// tries tells whether the session has been told of an address.
func (c called) tries(t *testing.T, address string) bool {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	_ = c.session.Run(ctx) // it ends with ctx
	close(c.tried)
	for tried := range c.tried {
		if tried == address {
			return true
		}
	}
	return false
}

// A node that learns of one recovery while its session turns to the coordinator of the
// other must not do what that one says: orders of both have the same site epoch.
func TestOrdersOfAForkAreRefused(t *testing.T) {
	c := newCalled(t)
	begun := c.identity.Trust()
	ours, theirs := c.begin(t, begun, 2, 1), c.begin(t, begun, 2, 2)
	if err := c.identity.UpdateTrust(ours); err != nil {
		t.Fatal(err)
	}
	orders := fenced{Ledger: c.ledger, identity: c.identity}
	order := &sitev1.Order{SiteEpoch: 2, Term: 1, Index: 1}
	for range 2 {
		if err := orders.Accept(&sitev1.Assignments{Order: order, Trust: theirs}); !errors.Is(err, certs.ErrForked) {
			t.Errorf("of the other part: %v", err)
		}
	}
	if !c.identity.IsFork(recoveryID(2)) || c.ledger.Current().GetOrder() != nil {
		t.Errorf("the ledger holds orders of %v", c.ledger.Current().GetOrder())
	}
	if err := orders.Accept(&sitev1.Assignments{Order: order, Trust: ours}); err != nil {
		t.Error(err)
	}
}

// Who asks must not take the log of a replica that has not answered for an empty one.
func TestANodeTellsOfAReplicaThatDoesNotAnswerYet(t *testing.T) {
	c := newCalled(t)
	c.replicas = newReplicas(c.Agent)
	for _, test := range []struct {
		raftID  uint64
		halted  string
		shut    string
		opening bool
	}{{0, "", "", false}, {7, "", "", true}, {7, "a bit has flipped", "", false}, {7, "", "too many open files", true}} {
		orders := &sitev1.Assignments{Order: &sitev1.Order{SiteEpoch: 1, Term: 1, Index: test.raftID}, RaftId: test.raftID}
		if err := c.ledger.Accept(orders); err != nil {
			t.Fatal(err)
		}
		c.replicas.tell(nil, test.raftID, test.halted, test.shut)
		if got := c.Position(t.Context()).GetOpening(); got != test.opening {
			t.Errorf("%+v: it opens: %t", test, got)
		}
	}
}
