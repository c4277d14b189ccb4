package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/sitetime"
)

// clocks are a site's, as a test needs them: site time stands still.
type clocks struct {
	stamp sitetime.Stamp
	nodes map[string]time.Time
	set   time.Time
	// by is the entry with which it was set.
	by *sitev1.Entry
}

func (c *clocks) Read() sitetime.Stamp         { return c.stamp }
func (c *clocks) Clocks() map[string]time.Time { return c.nodes }

func (c *clocks) Median() (time.Time, bool) {
	low, _, ok := sitetime.Middle(slices.Collect(maps.Values(c.nodes)), 3)
	return low, ok
}

func (c *clocks) Set(_ context.Context, by *sitev1.Entry, to time.Time, _ bool) (*sitev1.Outcome, error) {
	c.set, c.by = to, by
	return &sitev1.Outcome{SiteTimeSet: &sitev1.SiteTimeSet{Before: timestamppb.New(c.stamp.Time), After: timestamppb.New(to)}}, nil
}

// What is issued counts by site time, whatever the host's clock says.
func TestTokensAndIdentitiesAreMadeAtSiteTime(t *testing.T) {
	s := newAPISite(t)
	now := time.Now().AddDate(30, 0, 0)
	s.clocks.stamp.Time = now
	mia := operator("mia")
	if got := s.call(&mia, "SiteService/CreateToken", `{"role":"node"}`); got.status != http.StatusOK || !strings.HasPrefix(fmt.Sprint(got.body["expires"]), fmt.Sprint(now.Year())) {
		t.Errorf("the token is not of site time: %v", got.body)
	}
	authority, err := certs.NewAuthority(env.NewSystem().Rand, "reef", "n1", now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	joins := Join{Log: s.server.Log, Store: s.store, SiteTime: &s.clocks, Rand: s.server.Rand}
	answer, err := joins.issue(authority, key.Public(), &sitev1.Outcome{Node: &skerryv1.Node{Name: "n9", Address: "n9:7600"}})
	if err != nil {
		t.Fatal(err)
	}
	svid, err := x509.ParseCertificate(answer.GetSvid()[0])
	if err != nil {
		t.Fatal(err)
	}
	if svid.NotAfter.Before(now) || !answer.GetClock().GetTime().AsTime().Equal(now) {
		t.Errorf("the SVID expires on %s, the answer says it is %s", svid.NotAfter, answer.GetClock().GetTime().AsTime())
	}
}

// A token that was made, and whose text never arrived, is not made again.
func TestATokenThatIsAskedForAgainCannotBeShown(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	body := `{"role":"node","requestId":"t1"}`
	before := len(s.store.View().Tokens())
	if got := s.call(&mia, "SiteService/CreateToken", body); got.status != http.StatusOK {
		t.Fatal(got.body)
	}
	s.refused("SiteService/CreateToken", body, "failed_precondition", "cannot be shown again")
	if tokens := s.store.View().Tokens(); len(tokens) != before+1 {
		t.Errorf("tokens %v", tokens)
	}
}

func TestSiteTimeSaysWhatIsWrongAndWhatToDo(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	years := 10 * 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		offsets map[string]time.Duration
		want    []string
	}{
		"all is well":                      {map[string]time.Duration{"n1": 0, "n2": time.Second, "n3": -time.Second}, nil},
		"one clock is years ahead":         {map[string]time.Duration{"n1": 0, "n2": 0, "n3": years}, []string{"node n3 is about 10 years ahead"}},
		"the site was off for long":        {map[string]time.Duration{"n1": years, "n2": years, "n3": years}, []string{"ahead of site time.*skerry site time set"}},
		"all clocks fell back":             {map[string]time.Duration{"n1": -years, "n2": -years, "n3": -years}, []string{"behind site time: correct the clocks"}},
		"of three voters one is heard of":  {map[string]time.Duration{"n1": 0}, []string{"too few voters"}},
		"the site was off, and one is odd": {map[string]time.Duration{"n1": years, "n2": years, "n3": 0}, []string{"skerry site time set", "node n3 is about 10 years behind"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPISite(t)
			s.clocks.stamp, s.clocks.nodes = sitetime.Stamp{Time: now, Reference: now}, map[string]time.Time{}
			for node, off := range c.offsets {
				s.clocks.nodes[node] = now.Add(off)
			}
			mia := operator("mia")
			got := s.call(&mia, "SiteTimeService/GetSiteTime", `{}`)
			problems, _ := got.body["problems"].([]any)
			if len(problems) != len(c.want) {
				t.Fatalf("it says %v", got.body)
			}
			for i, want := range c.want {
				if !regexp.MustCompile(want).MatchString(problems[i].(string)) {
					t.Errorf("problem %d is %q, want %q", i, problems[i], want)
				}
			}
		})
	}
}

func TestOnlyAnOperatorSetsSiteTimeAndOnlyToWhatMakesSense(t *testing.T) {
	s := newAPISite(t)
	mia, node := operator("mia"), peer(certs.RoleNode, "n2")
	for _, c := range []struct {
		name, body, code string
		from             *certs.Peer
	}{
		{"a node", `{"time":"2026-03-01T12:00:00Z"}`, "permission_denied", &node},
		{"no clocks to take it from", `{}`, "unavailable", &mia},
		{"1970", `{"time":"1970-01-01T12:00:00Z"}`, "invalid_argument", &mia},
		{"far away", `{"time":"9999-01-01T12:00:00Z"}`, "invalid_argument", &mia},
		{"after the CA has ended", `{"time":"2200-01-01T12:00:00Z"}`, "failed_precondition", &mia},
		{"just before it ends", `{"time":"` + time.Now().AddDate(29, 6, 0).UTC().Format(time.RFC3339) + `"}`, "failed_precondition", &mia},
		{"long before it ends", `{"time":"` + time.Now().AddDate(28, 0, 0).UTC().Format(time.RFC3339) + `"}`, "", &mia},
		{"a time", `{"time":"2026-03-01T12:00:00Z"}`, "", &mia},
	} {
		if got := s.call(c.from, "SiteTimeService/SetSiteTime", c.body); got.code() != c.code {
			t.Errorf("%s: it gave %v, want %q", c.name, got.body, c.code)
		}
	}
	if want := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC); !s.clocks.set.Equal(want) {
		t.Errorf("it was set to %s", s.clocks.set)
	}
	if by := s.clocks.by; by.GetPrincipal() != mia.ID.String() || by.GetFrom() != "127.0.0.1" || by.GetAccessRevision() != s.store.View().AccessRevision() {
		t.Errorf("the entry says %v", by)
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
	last := func() *skerryv1.EventsResponse {
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
		return stream.Msg()
	}
	stale := func() bool { return last().GetFreshness().GetStale() }
	if stale() {
		t.Error("what the coordinator says is marked stale")
	}
	// It follows a leader, which does not confirm how far the log is.
	s.away.Store(&consensus.Status{Term: 2, Leader: 7, HasQuorum: true})
	if !stale() {
		t.Error("what a voter says that may be behind is not marked stale")
	}
	// What the node would tell the log is no event yet: nobody has said when it was.
	s.runsTillUnder("n1", &skerryv1.Partition{Mode: manifest.Exclusive, Lease: "10s"})
	s.away.Store(&consensus.Status{ID: 1, SinceContact: 3 * time.Second})
	before := last().GetEvent()
	s.own = []*sitev1.PlacementReport{{Project: "shop", Placement: "till-1", Lapsed: true, Gone: true}}
	if event := last().GetEvent(); !proto.Equal(event, before) {
		t.Errorf("it tells of %v", event)
	}
}
