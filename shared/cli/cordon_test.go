package cli

import (
	"context"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (s *fakeSite) ChangeDuty(_ context.Context, r *connect.Request[skerryv1.ChangeDutyRequest]) (*connect.Response[skerryv1.ChangeDutyResponse], error) {
	if len(s.of("Node", r.Msg.GetNode())) == 0 {
		return nil, missing("Node", r.Msg.GetNode())
	}
	if s.changed != nil {
		return connect.NewResponse(s.changed), s.note(r.Msg)
	}
	return connect.NewResponse(&skerryv1.ChangeDutyResponse{Freshness: s.freshness}), s.note(r.Msg)
}

func TestNodesAreTakenOutOfServiceAndBack(t *testing.T) {
	site := harbour()
	expect(t, site, "cordon node-3 --reason fan", 0, "\nnode node-3 gets nothing new; what runs there runs on\n", "")
	want := &skerryv1.ChangeDutyRequest{Node: "node-3", Duty: skerryv1.Duty_DUTY_CORDONED, Reason: "fan"}
	if diff := cmp.Diff(want, site.asked(), protocmp.Transform(), protocmp.IgnoreFields(want, "request_id")); diff != "" {
		t.Error(diff)
	}
	expect(t, site, "node uncordon node-3", 0, "\nnode node-3 may get new work again\n", "")
	if got := site.asked().(*skerryv1.ChangeDutyRequest); got.GetDuty() != skerryv1.Duty_DUTY_UNSPECIFIED || got.GetRequestId() == "" {
		t.Errorf("asked for %v", got)
	}
}
