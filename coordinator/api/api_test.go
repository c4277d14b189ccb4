package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"skerry.dev/certs"
	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	apply       = "ResourceService/Apply"
	get         = "ResourceService/Get"
	status      = "SiteService/Status"
	createToken = "SiteService/CreateToken"
)

// workload is a manifest as JSON.
func workload(name string, more string) string {
	return fmt.Sprintf(`{"workload":{"kind":"Workload","name":%q,"replicas":1,"container":{"image":"site.local/web:1"}%s}}`, name, more)
}

func resourcesOf(all ...string) string { return `{"resources":[` + strings.Join(all, ",") + `]}` }

func TestJSONIsTakenStrictly(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	for _, test := range []struct{ name, body, says string }{
		{"a field that there is not", `{"resources":[],"dryrun":true}`, "dryrun"},
		{"a field that there is not, deep inside", resourcesOf(workload("web", `,"replicaz":2`)), "replicaz"},
		{"a field twice", `{"requestId":"a","requestId":"b","resources":[` + workload("web", "") + `]}`, "requestId"},
		{"a field twice under both of its names", `{"requestId":"a","request_id":"b","resources":[` + workload("web", "") + `]}`, "request"},
		{"a field twice, deep inside", resourcesOf(workload("web", `,"replicas":2`)), "replicas"},
		{"two kinds in one resource", `{"resources":[{"workload":{"name":"a"},"node":{"name":"b"}}]}`, "node"},
		{"text for a number", resourcesOf(workload("web", `,"generation":"many"`)), "generation"},
		{"more after the end", resourcesOf(workload("web", "")) + `{}`, ""},
		{"half of it", resourcesOf(workload("web", ""))[:40], ""},
		{"a list", `[]`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := s.contents()
			got := s.call(&mia, apply, test.body)
			if got.code() != "invalid_argument" || !strings.Contains(got.message(), test.says) {
				t.Errorf("it gave %d %v", got.status, got.body)
			}
			if before != s.contents() {
				t.Error("it changed something")
			}
		})
	}
	if got := s.call(&mia, apply, resourcesOf(workload("web", ""))); got.code() != "" {
		t.Errorf("a good one gave %v", got.body)
	}
	if got := s.call(&mia, apply, resourcesOf(workload("web", "")), "Content-Type", "application/json; charset=utf-8"); got.code() != "" {
		t.Errorf("one that names its charset gave %v", got.body)
	}
	if got := s.call(&mia, apply, resourcesOf(workload("web", `,"replicaz":2`)), "Content-Type", "application/json; charset=utf-8"); got.code() != "invalid_argument" {
		t.Errorf("with a charset, a field that there is not gave %v", got.body)
	}
	if got := s.call(&mia, apply, `{"requestId":"`+strings.Repeat("x", maxMessage)+`"}`); got.code() != "resource_exhausted" {
		t.Errorf("one that is too large gave %d %s", got.status, got.code())
	}
}

func TestWhoMayCall(t *testing.T) {
	other := operator("mia")
	other.KeyFingerprint = key("an earlier key")
	formerN2 := peer(certs.RoleNode, "n2")
	formerN2.KeyFingerprint = key("an earlier n2")
	node := func(name string) *certs.Peer {
		p := peer(certs.RoleNode, name)
		return &p
	}
	mia, eve, shop := operator("mia"), operator("eve"), peer(certs.RoleWorkload, "default/shop")
	onBehalf := []string{onBehalfHeader, "spiffe://reef/operator/mia"}
	for _, test := range []struct {
		name    string
		from    *certs.Peer
		headers []string
		code    string // empty: it may
	}{
		{"an operator of the site", &mia, nil, ""},
		{"an operator of the site, who says to be another one", &mia, []string{onBehalfHeader, "spiffe://reef/operator/root"}, ""},
		{"an operator that the site has no record of", &eve, nil, "permission_denied"},
		{"an operator that the site has no record of, for one", &eve, onBehalf, "permission_denied"},
		{"an operator with an earlier key", &other, nil, "permission_denied"},
		{"somebody without a certificate", nil, nil, "unauthenticated"},
		{"somebody without a certificate, for an operator", nil, onBehalf, "unauthenticated"},
		{"a workload", &shop, nil, "permission_denied"},
		{"a workload, for an operator", &shop, onBehalf, "permission_denied"},
		{"a voter, for an operator", node("n2"), onBehalf, ""},
		{"a voter, for itself", node("n2"), nil, "permission_denied"},
		{"a node that does not vote, for an operator", node("n3"), onBehalf, "permission_denied"},
		{"a node that the site has no record of, for an operator", node("n9"), onBehalf, "permission_denied"},
		{"an earlier node of a voter's name, for an operator", &formerN2, onBehalf, "permission_denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newAPISite(t)
			s.voter("n2")
			if got := s.call(test.from, get, `{"kind":"Node","name":"n1","stale":true}`, test.headers...); got.code() != test.code {
				t.Errorf("it gave %d %v, want %q", got.status, got.body, test.code)
			}
		})
	}
}

func TestWritesAreForwardedInTheCallersName(t *testing.T) {
	s := newAPISite(t)
	s.voter("n2")
	s.away.Store(&consensus.Status{ID: 1, Leader: 2, HasQuorum: true})
	mia := operator("mia")
	// What the caller claims is not passed on.
	got := s.call(&mia, apply, resourcesOf(workload("web", "")), onBehalfHeader, "spiffe://reef/operator/root")
	if got.code() != "" || len(s.carried) != 1 {
		t.Fatalf("it gave %v, %d calls were forwarded", got.body, len(s.carried))
	}
	if to, who := s.carried[0].URL.Host, s.carried[0].Header.Values(onBehalfHeader); to != "n2:7600" || fmt.Sprint(who) != "[spiffe://reef/operator/mia]" {
		t.Errorf("it went to %s in the name of %v", to, who)
	}
	if named := got.header.Get(client.CoordinatorHeader); named != "n2:7600" {
		t.Errorf("the answer names the coordinator %q", named)
	}
	// Reads are answered here.
	if got := s.call(&mia, get, `{"kind":"Node","name":"n1","stale":true}`); got.code() != "" || len(s.carried) != 1 || got.header.Get(client.CoordinatorHeader) != "" {
		t.Errorf("a read gave %v, %d calls were forwarded", got.body, len(s.carried))
	}
}

// Calls that are passed on have their turns at the coordinator.
func TestWhatWaitsAtTheCoordinatorKeepsNothingBackHere(t *testing.T) {
	s := newAPISite(t)
	s.voter("n2")
	s.away.Store(&consensus.Status{ID: 1, Leader: 2, HasQuorum: true})
	arrived, release := make(chan struct{}, maxWorking), make(chan struct{})
	s.carry = func() {
		arrived <- struct{}{}
		<-release
	}
	mia := operator("mia")
	var writing sync.WaitGroup
	for range maxWorking {
		writing.Go(func() { s.call(&mia, apply, resourcesOf(workload("web", ""))) })
	}
	for range maxWorking {
		<-arrived
	}
	if got := s.call(&mia, get, `{"kind":"Node","name":"n1","stale":true}`); got.code() != "" {
		t.Errorf("a read gave %v", got.body)
	}
	close(release)
	writing.Wait()
}

func TestWithoutQuorumWritesAreRefusedAndReadsAreStale(t *testing.T) {
	s := newAPISite(t)
	s.voter("n2")
	mia := operator("mia")
	before := s.contents()
	s.away.Store(&consensus.Status{ID: 1, SinceContact: 3 * time.Second})
	got := s.call(&mia, apply, resourcesOf(workload("web", "")))
	if got.code() != "unavailable" || !strings.Contains(got.message(), "n2") {
		t.Errorf("a write gave %v", got.body)
	}
	if before != s.contents() {
		t.Error("the refused write changed something")
	}
	for _, test := range []struct {
		name, method, body string
		away               *consensus.Status
		stale              bool
		age                any
	}{
		{"a read with a quorum", get, `{"kind":"Node","name":"n1"}`, nil, false, nil},
		{"a read that asks for a stale answer", get, `{"kind":"Node","name":"n1","stale":true}`, nil, true, "0s"},
		{"a read without a leader", get, `{"kind":"Node","name":"n1"}`, &consensus.Status{ID: 1, SinceContact: 3 * time.Second}, true, "3s"},
		{"a read after a start without a leader", get, `{"kind":"Node","name":"n1"}`, &consensus.Status{ID: 1, SinceContact: consensus.NoContact}, true, nil},
		{"the status without a leader", status, `{}`, &consensus.Status{ID: 1, SinceContact: 3 * time.Second}, true, "3s"},
		{"a read whose leader does not answer", get, `{"kind":"Node","name":"n1"}`, &consensus.Status{ID: 1, Leader: 2, HasQuorum: true}, true, "0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.away.Store(test.away)
			// On a machine that does much else a single one may be slow.
			var got answer
			fastest := time.Hour
			for try := 0; try < 5 && fastest > readTimeout+time.Second; try++ {
				begun := time.Now()
				got = s.call(&mia, test.method, test.body)
				fastest = min(fastest, time.Since(begun))
			}
			if fastest > readTimeout+time.Second {
				t.Errorf("it took %s", fastest)
			}
			freshness, _ := got.body["freshness"].(map[string]any)
			said, _ := freshness["stale"].(bool)
			if got.code() != "" || said != test.stale || freshness["age"] != test.age || (got.header.Get(client.StaleHeader) == "true") != test.stale {
				t.Errorf("it gave %d, header %q, %v", got.status, got.header.Get(client.StaleHeader), got.body)
			}
			changed, _ := freshness["asOf"].(string)
			if at, err := time.Parse(time.RFC3339, changed); err != nil || !at.Equal(s.store.View().Time().AsTime()) {
				t.Errorf("what it holds changed last at %q: %v", changed, err)
			}
		})
	}
}

func TestAReplicaThatMayBeBehindDoesNotSayThatSomethingIsNowhere(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	cutOff := &consensus.Status{ID: 1, SinceContact: 3 * time.Second}
	for _, test := range []struct {
		name, method, body string
		away               *consensus.Status
		code               string
	}{
		{"get with a quorum", get, `{"kind":"Workload","name":"web"}`, nil, "not_found"},
		{"get without", get, `{"kind":"Workload","name":"web"}`, cutOff, "unavailable"},
		{"get of what is known here", get, `{"kind":"Workload","name":"web","stale":true}`, cutOff, "not_found"},
		{"explain without a quorum", "ResourceService/Explain", `{"name":"web"}`, cutOff, "unavailable"},
		{"endpoints without a quorum", "NamingService/Endpoints", `{"workload":"web"}`, cutOff, "unavailable"},
		{"history without a quorum", "RolloutService/History", `{"name":"web"}`, cutOff, "unavailable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.away.Store(test.away)
			if got := s.call(&mia, test.method, test.body); got.code() != test.code {
				t.Errorf("it gave %d, %v", got.status, got.body)
			}
		})
	}
}

func TestAReplicaThatMayBeBehindDoesNotSayThatAPlacementHasNoNode(t *testing.T) {
	s := newAPISite(t)
	for away, kind := range map[*consensus.Status]problem.Kind{
		nil:                                    problem.NotFound,
		{ID: 1, SinceContact: 3 * time.Second}: problem.Unavailable,
	} {
		s.away.Store(away)
		if _, err := s.server.holder(t.Context(), "Placement", "default", "web-1"); problem.KindOf(err) != kind {
			t.Errorf("with %+v it gave %v", away, err)
		}
	}
}

func TestRetriesOverTheAPI(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	body := `{"requestId":"r-1","resources":[` + workload("web", "") + `]}`
	outcome := func(a answer) string {
		results, _ := a.body["results"].([]any)
		if len(results) != 1 {
			t.Fatalf("it gave %v", a.body)
		}
		said, _ := results[0].(map[string]any)["outcome"].(string)
		return said
	}
	for range 2 {
		if got := outcome(s.call(&mia, apply, body)); got != "created" {
			t.Errorf("the write was %s", got)
		}
	}
	if got := outcome(s.call(&mia, apply, resourcesOf(workload("web", "")))); got != "unchanged" {
		t.Errorf("another write of the same was %s", got)
	}
	stale := resourcesOf(workload("web", `,"resourceVersion":"1"`))
	if got := s.call(&mia, apply, stale); got.code() != "aborted" && got.code() != "failed_precondition" && got.code() != "already_exists" {
		t.Errorf("a write to an older version gave %v", got.body)
	}
}

func TestTokenIsShownOnceAndKeptHashed(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	body := `{"requestId":"t-1","role":"node","ttl":"3600s"}`
	made := s.call(&mia, createToken, body)
	text, _ := made.body["token"].(string)
	token, err := certs.ParseToken(text)
	if err != nil {
		t.Fatalf("%v: %v", made.body, err)
	}
	data, err := s.store.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), string(token.Secret)) {
		t.Error("the secret is in the state")
	}
	// Nobody knows the secret any more: a retry must not answer with one that
	// opens nothing.
	if again := s.call(&mia, createToken, body); again.code() == "" {
		t.Errorf("the retry gave %v", again.body)
	}
	listed, err := json.Marshal(s.call(&mia, "SiteService/ListTokens", `{}`).body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(listed), text[len(text)-20:]) {
		t.Error("the list shows the secret")
	}
	for name, body := range map[string]string{
		"a role that there is not": `{"role":"root"}`, "no role": `{}`, "a year": `{"role":"node","ttl":"31536000s"}`,
		"a second": `{"role":"node","ttl":"1s"}`, "an operator without a name": `{"role":"operator"}`,
		"an operator with a zone": `{"role":"operator","name":"kim","zone":"za"}`, "a name that is none": `{"role":"node","name":"N_1"}`,
	} {
		if got := s.call(&mia, createToken, body); got.code() != "invalid_argument" {
			t.Errorf("%s gave %v", name, got.body)
		}
	}
}

// The side that is cut off hears nothing new of the site, but its own node does.
func TestWithoutQuorumTheNodeTellsHowItsOwnPlacementsAre(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	s.runsTill("n1")
	revision := s.store.View().Placement("shop", "till-1").GetStatus().GetRevision()
	s.own = []*sitev1.PlacementReport{{Project: "shop", Placement: "till-1", Status: &skerryv1.PlacementStatus{
		Phase: skerryv1.Phase_PHASE_BACKOFF, Message: "its lease has ended", Revision: revision + 1,
	}}}
	const ask = `{"kind":"Placement","name":"till-1","project":"shop"}`
	if got := s.call(&mia, get, ask); strings.Contains(fmt.Sprint(got.body), "its lease has ended") {
		t.Errorf("with a quorum it tells what is not in the log: %v", got.body)
	}
	index := s.store.View().Index()
	s.away.Store(&consensus.Status{ID: 1, SinceContact: 3 * time.Second})
	got := s.call(&mia, get, ask)
	if told := fmt.Sprint(got.body); !strings.Contains(told, "its lease has ended") || !strings.Contains(told, fmt.Sprintf("index:%d ", index)) {
		t.Errorf("without one it tells %s", told)
	}
	if s.store.View().Index() != index || s.store.View().Placement("shop", "till-1").GetStatus().GetMessage() != "" {
		t.Error("the state itself has changed")
	}
}

// What is exclusive and was stopped there is not out of sight until the log hears of it.
func TestWithoutQuorumWhatALeaseStoppedIsStillShown(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	s.runsTillUnder("n1", &skerryv1.Partition{Mode: manifest.Exclusive, Lease: "10s"})
	s.own = []*sitev1.PlacementReport{{Project: "shop", Placement: "till-1", Lapsed: true, Gone: true}}
	s.away.Store(&consensus.Status{ID: 1, SinceContact: 3 * time.Second})
	if told := fmt.Sprint(s.call(&mia, get, `{"kind":"Placement","name":"till-1","project":"shop"}`).body); !strings.Contains(told, "its lease has ended") {
		t.Errorf("it tells %s", told)
	}
}
