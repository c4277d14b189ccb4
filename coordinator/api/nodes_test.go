package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"skerry.dev/certs"
)

func TestWhoMayTakeNodesOutOfServiceAndWhatIsRefusedAtOnce(t *testing.T) {
	s := newAPISite(t)
	mia, node := operator("mia"), peer(certs.RoleNode, "n2")
	for _, c := range []struct {
		name, method, body, code string
		from                     *certs.Peer
	}{
		{"a node", "ChangeDuty", `{"node":"n1","duty":"DUTY_CORDONED"}`, "permission_denied", &node},
		{"a node that is not there", "ChangeDuty", `{"node":"n9","duty":"DUTY_CORDONED"}`, "not_found", &mia},
		{"a drain of one that is not there", "ChangeDuty", `{"node":"n9","duty":"DUTY_DRAINED"}`, "not_found", &mia},
		{"a deadline of days", "ChangeDuty", `{"node":"n1","duty":"DUTY_DRAINED","deadline":"100000s"}`, "invalid_argument", &mia},
		{"what only the site says", "ChangeDuty", `{"node":"n1","duty":"DUTY_DRAINING"}`, "invalid_argument", &mia},
		{"no change of labels", "RelabelNode", `{"node":"n1"}`, "invalid_argument", &mia},
		{"a label that no condition can name", "RelabelNode", `{"node":"n1","set":{"a b":"c"}}`, "invalid_argument", &mia},
		{"a value that no condition can name", "RelabelNode", `{"node":"n1","set":{"disk":"a b"}}`, "invalid_argument", &mia},
		{"a machine that is heard counts as off", "ConfirmOff", `{"node":"n1"}`, "failed_precondition", &mia},
	} {
		got := s.call(c.from, "NodeService/"+c.method, c.body)
		if got.status == http.StatusOK || got.body["code"] != c.code {
			t.Errorf("%s: %d %v, want %s", c.name, got.status, got.body, c.code)
		}
	}
	got := s.call(&mia, "NodeService/ChangeDuty", `{"node":"n1","duty":"DUTY_MAINTENANCE","reason":"new disk"}`)
	if got.status != http.StatusOK || got.body["onlyQuorum"] != true || !strings.Contains(fmt.Sprint(got.body["node"]), "DUTY_DRAINING") {
		t.Errorf("maintenance of the only voter: %d %v", got.status, got.body)
	}
}
