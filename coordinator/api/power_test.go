package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"skerry.dev/certs"
)

func TestWhoMayStopTheSiteAndWhatItsStatusSaysThen(t *testing.T) {
	s := newAPISite(t)
	mia, node := operator("mia"), peer(certs.RoleNode, "n2")
	for _, c := range []struct {
		name, method, body, code string
		from                     *certs.Peer
	}{
		{"a node stops it", "StopSite", `{}`, "permission_denied", &node},
		{"a node starts it", "StartSite", `{}`, "permission_denied", &node},
		{"a deadline of days", "StopSite", `{"deadline":"100000s"}`, "invalid_argument", &mia},
		{"a reason without end", "StopSite", `{"reason":"` + strings.Repeat("x", 2000) + `"}`, "invalid_argument", &mia},
	} {
		got := s.call(c.from, "PowerService/"+c.method, c.body)
		if got.status == http.StatusOK || got.body["code"] != c.code {
			t.Errorf("%s: %d %v, want %s", c.name, got.status, got.body, c.code)
		}
	}
	if got := s.call(&mia, "PowerService/StopSite", `{"dryRun":true}`); got.status != http.StatusOK || got.body["stop"] != nil {
		t.Errorf("what would be: %d %v", got.status, got.body)
	}
	if got := s.call(&mia, "PowerService/StopSite", `{"reason":"yard"}`); got.status != http.StatusOK || got.body["stop"] == nil {
		t.Errorf("the stop: %d %v", got.status, got.body)
	}
	status := s.call(&mia, "SiteService/Status", `{}`)
	if text := fmt.Sprint(status.body["problems"]); !strings.Contains(text, "(yard)") || !strings.Contains(text, "skerry site start") || status.body["weaknesses"] != nil {
		t.Errorf("the status is %v", status.body)
	}
	if got := s.call(&mia, "PowerService/StartSite", `{}`); got.status != http.StatusOK || got.body["was"] == nil {
		t.Errorf("the start: %d %v", got.status, got.body)
	}
	if got := s.call(&mia, "PowerService/StartSite", `{}`); got.status != http.StatusOK || got.body["was"] != nil {
		t.Errorf("once more: %d %v", got.status, got.body)
	}
}
