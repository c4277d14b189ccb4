package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/env"
)

// behind is a clock that fell back by years.
type behind struct{ env.Clock }

func (b behind) Now() time.Time { return b.Clock.Now().AddDate(-10, 0, 0) }

// The state judges tokens by the newest stamp of the log, which one wrong clock
// may have moved far ahead of all others.
func TestACoordinatorWhoseClockIsBehindLetsNodesJoin(t *testing.T) {
	s := newAPISite(t)
	begun := s.store.View().Time().AsTime()
	s.server.Clock = behind{s.server.Clock}
	mia := operator("mia")
	if got := s.call(&mia, "SiteService/CreateToken", `{"role":"node"}`); got.status != http.StatusOK {
		t.Errorf("no token can be made: %v", got.body)
	}
	authority, err := certs.NewAuthority(env.NewSystem().Rand, "reef", "n1", begun)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	joins := Join{Log: s.server.Log, Store: s.store, Clock: s.server.Clock, Rand: s.server.Rand}
	answer, err := joins.issue(authority, key.Public(), &sitev1.Outcome{Node: &skerryv1.Node{Name: "n9", Address: "n9:7600"}})
	if err != nil {
		t.Fatal(err)
	}
	svid, err := x509.ParseCertificate(answer.GetSvid()[0])
	if err != nil {
		t.Fatal(err)
	}
	if svid.NotAfter.Before(begun) {
		t.Errorf("the SVID expired on %s, before it was issued", svid.NotAfter)
	}
}

func TestPastEventsOfAVoterThatMayBeBehindAreMarked(t *testing.T) {
	s := newAPISite(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.ServeHTTP(w, r.WithContext(mtls.WithPeer(r.Context(), operator("mia"))))
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	stale := func() bool {
		t.Helper()
		stream, err := skerryv1connect.NewSiteServiceClient(server.Client(), server.URL).
			Events(t.Context(), connect.NewRequest(&skerryv1.EventsRequest{Limit: 1}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = stream.Close() }()
		if !stream.Receive() {
			t.Fatal("there is no event: ", stream.Err())
		}
		return stream.Msg().GetFreshness().GetStale()
	}
	if stale() {
		t.Error("what the coordinator says is marked stale")
	}
	// It follows a leader, which does not confirm how far the log is.
	s.away.Store(&consensus.Status{Term: 2, Leader: 7, HasQuorum: true})
	if !stale() {
		t.Error("what a voter says that may be behind is not marked stale")
	}
}
