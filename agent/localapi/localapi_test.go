package localapi

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"skerry.dev/agent/runtime"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/env"
)

// fake is the node around the server.
type fake struct {
	mu      sync.Mutex
	orders  *sitev1.Assignments
	changed chan struct{}
	voters  []string
	since   time.Duration
	// spooled are records for the audit log; full refuses them.
	spooled [][]byte
	full    error
	driver  runtime.Driver
	refused counts.Counts
	reads   counts.Counts
}

func (f *fake) Add(record []byte) error {
	if f.full == nil {
		f.spooled = append(f.spooled, record)
	}
	return f.full
}

func (f *fake) Current() *sitev1.Assignments {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.orders
}

func (f *fake) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// give the next orders.
func (f *fake) give(orders *sitev1.Assignments) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders = orders
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) Reachable(context.Context) []string { return f.voters }
func (f *fake) LastContact() time.Duration         { return f.since }

func (f *fake) Status(_, name string) *skerryv1.PlacementStatus {
	return &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Message: "of " + name}
}

// clock stands still at one hour.
type clock struct{ env.Clock }

func (clock) Elapsed() time.Duration { return time.Hour }

// logs is a driver that can only show what an instance wrote.
type logs struct{ runtime.Driver }

func (logs) Logs(_ context.Context, id string, _ runtime.LogOptions) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("written by " + id)), nil
}

func newServer(change ...func(*fake)) *Server {
	f := &fake{driver: logs{}, since: time.Hour - 90*time.Second, orders: &sitev1.Assignments{
		Order: &sitev1.Order{SiteEpoch: 2, Term: 7, Index: 40},
		Access: &sitev1.AccessRecords{Revision: 3, Operators: []*sitev1.OperatorRecord{
			{Name: "mia", Grants: []*skerryv1.Grant{{Role: "operator"}}}, {Name: "eve"},
			{Name: "kim", Grants: []*skerryv1.Grant{{Role: "viewer", Project: "shop"}}},
		}},
		Peers: []*sitev1.Peer{
			{Name: "n1", Address: "n1:7600", Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER, RaftId: 1},
			{Name: "n2", Address: "n2:7600", Voter: skerryv1.VoterRole_VOTER_ROLE_LEARNER, RaftId: 2},
			{Name: "n3", Address: "n3:7600"},
		},
		Placements: []*skerryv1.Placement{{Kind: "Placement", Project: "default", Name: "web-1", Workload: "web", Node: "n3"}},
	}}
	for _, c := range change {
		c(f)
	}
	return New(Config{
		Node: "n3", Site: "reef", Ledger: f, Placements: f, Voters: f, Recovery: f, Driver: f.driver, Names: f,
		Conditions: func() []*skerryv1.Condition { return nil },
		Refused:    &f.refused, Reads: &f.reads,
		Spool: f, SiteTime: func() time.Time { return time.Unix(1_800_000_000, 0) }, Rand: env.NewSystem().Rand,
		Clock: clock{env.NewSystem().Clock}, Logger: slog.New(slog.DiscardHandler),
	})
}

func (f *fake) Recovered(context.Context, uint64, []byte, string) {}

func (f *fake) Position(context.Context) *sitev1.PingResponse { return &sitev1.PingResponse{} }

func peer(role certs.Role, name string) *certs.Peer {
	return &certs.Peer{ID: spiffeid.RequireFromString("spiffe://reef/" + string(role) + "/" + name), Role: role, Name: name}
}

// answer of the server to one call.
type answer struct {
	status   int
	location string
	text     string
	body     map[string]any
}

func (a answer) code() string {
	code, _ := a.body["code"].(string)
	return code
}

func (a answer) stale() bool {
	freshness, _ := a.body["freshness"].(map[string]any)
	stale, _ := freshness["stale"].(bool)
	return stale
}

// call sends JSON to a handler, on a connection of that peer.
func call(t *testing.T, handler http.Handler, from *certs.Peer, method, body string) answer {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://n3:7600/skerry."+method, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	if from != nil {
		request = request.WithContext(mtls.WithPeer(request.Context(), *from))
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	a := answer{status: recorder.Code, location: recorder.Header().Get("Location"), text: recorder.Body.String(), body: map[string]any{}}
	_ = json.Unmarshal(recorder.Body.Bytes(), &a.body) // an answer without JSON shows in the text
	return a
}

// procedures of operators, and whether a node answers them without any voter.
var procedures = []struct {
	method, body string
	alone        bool
}{
	{"v1.ResourceService/Get", `{"kind":"Placement","name":"web-1"}`, true},
	{"v1.ResourceService/List", `{"kind":"Node"}`, true},
	{"v1.ResourceService/Explain", `{"name":"web"}`, true},
	{"v1.SiteService/Status", `{}`, true},
	{"v1.NamingService/Endpoints", `{}`, true},
	{"v1.ResourceService/Apply", `{"resources":[{}]}`, false},
	{"v1.ResourceService/Delete", `{"kind":"Workload","name":"web"}`, false},
	{"v1.SiteService/CreateToken", `{"role":"node"}`, false},
	{"v1.SiteService/ListTokens", `{}`, false},
	{"v1.ImageService/LoadImage", `{}`, false},
	{"v1.SiteService/Events", `{}`, false},
	{"v1.NoSuchService/Call", `{}`, false},
}

func TestOperatorsAreSentOnToAVoterInReach(t *testing.T) {
	s := newServer(func(f *fake) { f.voters = []string{"n1:7600", "n2:7600"} })
	for _, p := range procedures {
		got := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), p.method, p.body)
		if got.status != http.StatusTemporaryRedirect || got.location != "https://n1:7600/skerry."+p.method {
			t.Errorf("%s gave %d to %q", p.method, got.status, got.location)
		}
	}
	located := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), "v1.SiteService/Locate", `{}`)
	voters, _ := located.body["voters"].([]any)
	if located.status != http.StatusOK || len(voters) != 2 || located.body["node"] != "n3" || located.body["epoch"] != "2.7" {
		t.Errorf("locate gave %d %v", located.status, located.body)
	}
}

func TestNodeAloneAnswersReadsAndRefusesWrites(t *testing.T) {
	s := newServer()
	for _, p := range procedures {
		got := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), p.method, p.body)
		switch {
		case p.alone && (got.status != http.StatusOK || !got.stale()):
			t.Errorf("%s gave %d %s", p.method, got.status, got.text)
		case !p.alone && !strings.Contains(got.text, "voters not heard of: n1"):
			t.Errorf("%s does not name the voters that are missing: %s", p.method, got.text)
		case !p.alone && got.code() != "unavailable":
			t.Errorf("%s gave %d %s", p.method, got.status, got.text)
		}
	}
	got := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), "v1.ResourceService/Get", `{"kind":"Placement","name":"web-1"}`)
	freshness, _ := got.body["freshness"].(map[string]any)
	if freshness["age"] != "90s" || freshness["epoch"] != "2.7" || freshness["index"] != "40" || freshness["node"] != "n3" {
		t.Errorf("the freshness is %v", freshness)
	}
	if unknown := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), "v1.ResourceService/Get", `{"kind":"Placement","name":"db-1"}`); unknown.code() != "unavailable" {
		t.Errorf("a placement of another node gave %v", unknown.body)
	}
}

func TestANodeThatHeardNobodySinceItBeganKnowsNoAge(t *testing.T) {
	s := newServer(func(f *fake) { f.since = 0 })
	got := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), "v1.ResourceService/Get", `{"kind":"Placement","name":"web-1"}`)
	freshness, _ := got.body["freshness"].(map[string]any)
	if age, known := freshness["age"]; known || !got.stale() {
		t.Errorf("it says that what it knows is %v old: %s", age, got.text)
	}
	if why := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), "v1.ResourceService/Explain", `{"name":"web-1"}`); !strings.Contains(why.text, "by orders from before it started") {
		t.Errorf("it explains %s", why.text)
	}
}

func TestANodeAloneExplainsWhatItRuns(t *testing.T) {
	s := newServer(func(f *fake) {
		f.orders.Placements = append(f.orders.Placements, &skerryv1.Placement{Kind: "Placement", Project: "shop", Name: "web-1", Workload: "web", Node: "n3"})
	})
	for _, test := range []struct{ name, asked, want string }{
		{"a workload", `{"name":"web"}`, `"subject":"Workload/web"`},
		{"a placement", `{"name":"web-1"}`, `"subject":"Placement/web-1"`},
		{"a workload by its kind", `{"kind":"Workload","name":"web-1"}`, "unavailable"},
		{"a placement by its kind", `{"kind":"Placement","name":"web"}`, "unavailable"},
		{"of another project", `{"name":"web","project":"yard"}`, "unavailable"},
	} {
		got := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), "v1.ResourceService/Explain", test.asked)
		if !strings.Contains(got.text, test.want) {
			t.Errorf("%s: %s", test.name, got.text)
		}
		if found, _ := got.body["placements"].([]any); got.status == http.StatusOK && (len(found) != 1 || !got.stale() || strings.Contains(got.text, "shop")) {
			t.Errorf("%s: %s", test.name, got.text)
		}
	}
}

func TestNodeWithoutOrdersAnswers(t *testing.T) {
	s := newServer(func(f *fake) { f.orders = nil })
	got := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), "v1.SiteService/Status", `{}`)
	if got.status != http.StatusOK || !got.stale() {
		t.Errorf("the status gave %d %s", got.status, got.text)
	}
}

func TestOperatorsAlone(t *testing.T) {
	for _, voters := range [][]string{nil, {"n1:7600"}} {
		s := newServer(func(f *fake) { f.voters = voters })
		for name, from := range map[string]*certs.Peer{
			"a node that does not vote": peer(certs.RoleNode, "n2"), "somebody without a certificate": nil,
		} {
			for _, method := range []string{"v1.SiteService/Status", "v1.SiteService/Locate", "v1.ResourceService/Apply"} {
				if got := call(t, s.Operators(), from, method, `{}`); got.code() != "permission_denied" {
					t.Errorf("%s, %s gave %d %s", name, method, got.status, got.text)
				}
				// Its replica does not run: one that forwards to it may try again.
				if got := call(t, s.Operators(), peer(certs.RoleNode, "n1"), method, `{}`); got.code() != "unavailable" {
					t.Errorf("a voter that forwards %s got %d %s", method, got.status, got.text)
				}
			}
		}
	}
}

func TestOnlyVotersReachIntoPlacements(t *testing.T) {
	s := newServer()
	for _, test := range []struct {
		name     string
		from     *certs.Peer
		admitted bool
	}{
		{"a voter", peer(certs.RoleNode, "n1"), true},
		{"a node that only follows", peer(certs.RoleNode, "n2"), false},
		{"a node without a replica", peer(certs.RoleNode, "n3"), false},
		{"a node that is not known", peer(certs.RoleNode, "n9"), false},
		{"an operator with a voter's name", peer(certs.RoleOperator, "n1"), false},
		{"somebody without a certificate", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			// One message of a stream: no flags, its length, the message.
			body := "\x00\x00\x00\x00\x15" + `{"placement":"web-1"}`
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://n3:7600/skerry.v1.PlacementService/Logs", strings.NewReader(body))
			request.Header.Set("Content-Type", "application/connect+json")
			if test.from != nil {
				request = request.WithContext(mtls.WithPeer(request.Context(), *test.from))
			}
			recorder := httptest.NewRecorder()
			s.Peers().ServeHTTP(recorder, request)
			got := recorder.Body.String()
			if sent := strings.Contains(got, `"data"`); sent != test.admitted || strings.Contains(got, "permission_denied") == test.admitted {
				t.Errorf("it gave %d %q", recorder.Code, got)
			}
		})
	}
	for _, name := range []string{"n1", "n2", "n9"} {
		if got := call(t, s.Peers(), peer(certs.RoleNode, name), "site.v1.PeerService/Ping", `{}`); got.body["node"] != "n3" {
			t.Errorf("a ping of %s gave %d %s", name, got.status, got.text)
		}
	}
}
