package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"skerry.dev/certs"
)

func TestWhoMayRebalance(t *testing.T) {
	s := newAPISite(t)
	mia, node := operator("mia"), peer(certs.RoleNode, "n2")
	for _, c := range []struct {
		name, method, body, code string
		from                     *certs.Peer
	}{
		{"a node asks for drift", "Drift", `{}`, "permission_denied", &node},
		{"a node rebalances", "Rebalance", `{}`, "permission_denied", &node},
		{"a node stops it", "StopRebalance", `{}`, "permission_denied", &node},
		{"more moves than it takes", "Drift", `{"maxMoves":501}`, "invalid_argument", &mia},
		{"a deadline of days", "Rebalance", `{"deadline":"100000s"}`, "invalid_argument", &mia},
		{"a workload that is not there", "Rebalance", `{"workloads":["nope"]}`, "not_found", &mia},
	} {
		got := s.call(c.from, "RebalanceService/"+c.method, c.body)
		if got.status == http.StatusOK || got.body["code"] != c.code {
			t.Errorf("%s: %d %v, want %s", c.name, got.status, got.body, c.code)
		}
	}
	if got := s.call(&mia, "RebalanceService/Rebalance", `{}`); got.status != http.StatusOK || got.body["rebalance"] != nil {
		t.Errorf("with nothing to move: %d %v", got.status, got.body)
	}
	for _, method := range []string{"Drift", "LastRebalance", "StopRebalance"} {
		if got := s.call(&mia, "RebalanceService/"+method, `{}`); got.status != http.StatusOK {
			t.Errorf("%s: %d %v", method, got.status, got.body)
		}
	}
}

func TestRunsThatAreStartedByHand(t *testing.T) {
	s := newAPISite(t)
	mia := operator("mia")
	apply := func(spec string) {
		t.Helper()
		if got := s.call(&mia, "ResourceService/Apply", `{"resources":[{"workload":{"kind":"Workload","container":{"image":"web:1"},`+spec+`}}]}`); got.status != http.StatusOK {
			t.Fatalf("apply %s: %d %v", spec, got.status, got.body)
		}
	}
	apply(`"name":"backup","runToCompletion":{},"schedule":{"cron":"0 3 * * *"}`)
	apply(`"name":"many","runToCompletion":{},"schedule":{"cron":"0 3 * * *","concurrency":"allow"}`)
	apply(`"name":"import","runToCompletion":{}`)
	apply(`"name":"web"`)
	for _, c := range []struct{ name, says string }{
		{"backup", "run:1"},
		{"backup", "run 1 is under way, and concurrency is forbid"},
		{"many", "run:1"},
		{"many", "run:2"},
		{"import", "it has no schedule"},
		{"web", "it is no scheduled job: it has 1 replica"},
		{"nope", "not_found"},
		{"", "a name is required"},
	} {
		got := s.call(&mia, "RunService/StartRun", fmt.Sprintf(`{"name":%q}`, c.name))
		if text := fmt.Sprint(got.body); !strings.Contains(text, c.says) {
			t.Errorf("run %s: %d %v, want %q", c.name, got.status, text, c.says)
		}
	}
	if got := s.call(&mia, "PowerService/StopSite", `{}`); got.status != http.StatusOK {
		t.Fatal(got.body)
	}
	if got := s.call(&mia, "RunService/StartRun", `{"name":"many"}`); !strings.Contains(fmt.Sprint(got.body), "the site is stopped") {
		t.Errorf("on a site that is stopped: %v", got.body)
	}
}
