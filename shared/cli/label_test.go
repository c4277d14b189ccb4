package cli

import (
	"context"
	"maps"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (s *fakeSite) RelabelNode(_ context.Context, r *connect.Request[skerryv1.RelabelNodeRequest]) (*connect.Response[skerryv1.RelabelNodeResponse], error) {
	n := s.of("Node", r.Msg.GetNode())[0].GetNode()
	n.Labels = maps.Clone(r.Msg.GetSet())
	return connect.NewResponse(&skerryv1.RelabelNodeResponse{Node: n, Freshness: s.freshness}), s.note(r.Msg)
}

func (s *fakeSite) ConfirmOff(_ context.Context, r *connect.Request[skerryv1.ConfirmOffRequest]) (*connect.Response[skerryv1.ConfirmOffResponse], error) {
	return connect.NewResponse(&skerryv1.ConfirmOffResponse{Freed: []string{"db-1"}, Freshness: s.freshness}), s.note(r.Msg)
}

func TestNodesGetLabels(t *testing.T) {
	site := harbour()
	expect(t, site, "node label node-3 disk=ssd old- --zone rack-d", 0, "\nnode node-3 is in zone rack-c, with labels disk=ssd\n", "")
	want := &skerryv1.RelabelNodeRequest{Node: "node-3", Set: map[string]string{"disk": "ssd"}, Remove: []string{"old"}, Zone: "rack-d"}
	if diff := cmp.Diff(want, site.asked(), protocmp.Transform(), protocmp.IgnoreFields(want, "request_id")); diff != "" {
		t.Error(diff)
	}
}

func TestAnOperatorStatesThatAMachineIsOff(t *testing.T) {
	site := harbour()
	expect(t, site, "node confirm-off node-2 --yes", 0, "\nnode node-2 counts as off; free to start elsewhere: db-1\n", "")
	if got := site.asked().(*skerryv1.ConfirmOffRequest); got.GetNode() != "node-2" || got.GetRequestId() == "" {
		t.Errorf("asked %v", got)
	}
}

func TestWhoIsReplacedIsCheckedFirstAndToldLast(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"node replace node-9 node-3", "node-9"},
		{"node replace node-1 node-9", "node-9"},
		{"node replace node-1 node-2", "it is lost: it cannot take the place of another one"},
	} {
		r := &run{} // nobody answers, so nobody may be asked
		if code := r.main(t, harbour(), strings.Fields(test.line)...); code == 0 || !strings.Contains(r.err.String(), test.want) || strings.Contains(r.out.String()+r.err.String(), "for good") {
			t.Errorf("skerry %s: %d\n%s%s", test.line, code, r.out.String(), r.err.String())
		}
	}
	stuck := []*skerryv1.Stranded{
		{Project: "default", Workload: "web", Placement: "web-1", Node: "node-1", Why: "no node fits"},
		{Project: "default", Workload: "db", Placement: "db-1", Node: "node-1", Why: "it stays on its node"},
	}
	r := &run{}
	if code := r.main(t, drainSite(stuck), "node", "replace", "node-1", "node-3", "--yes"); code != 4 {
		t.Errorf("the code is %d", code)
	}
	wantIn(t, r.err.String(), "node node-1 was not evicted")
}
