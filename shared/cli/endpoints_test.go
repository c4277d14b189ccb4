package cli

import (
	"context"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (s *fakeSite) Endpoints(_ context.Context, req *connect.Request[skerryv1.EndpointsRequest]) (*connect.Response[skerryv1.EndpointsResponse], error) {
	s.names = req.Msg
	return connect.NewResponse(&skerryv1.EndpointsResponse{Domain: "harbour.skerry", Endpoints: s.endpoints, Freshness: s.freshness}), nil
}

func TestEndpointsShowWhatDNSAnswersFrom(t *testing.T) {
	site := harbour()
	http := []*skerryv1.EndpointPort{{Name: "http", Port: 18080, Protocol: "tcp"}, {Port: 18443, Protocol: "udp"}}
	site.endpoints = []*skerryv1.Endpoint{
		{Project: "default", Workload: "web", Placement: "web-1", Node: "node-1", NodeAddress: "10.0.0.1",
			State: skerryv1.EndpointState_ENDPOINT_STATE_SERVING, Ports: http},
		{Project: "default", Workload: "web", Placement: "web-2", Node: "node-2", NodeAddress: "10.0.0.2",
			State: skerryv1.EndpointState_ENDPOINT_STATE_NOT_READY, Ports: http[:1]},
		{Project: "shop", Workload: "cache", Placement: "cache-1", Node: "node-1", NodeAddress: "10.0.0.1",
			State: skerryv1.EndpointState_ENDPOINT_STATE_SERVING, LocalAddress: "10.88.0.7",
			LocalPorts: []*skerryv1.EndpointPort{{Name: "redis", Port: 6379, Protocol: "tcp"}}},
		{Project: "shop", Workload: "job", Placement: "job-1", Node: "node-1", NodeAddress: "10.0.0.1",
			State: skerryv1.EndpointState_ENDPOINT_STATE_LEAVING},
	}
	expect(t, site, "endpoints web -p shop --stale", 0, `
NAME                        PLACEMENT  NODE    STATE      ADDRESS    PORTS
web.default.harbour.skerry  web-1      node-1  serving    10.0.0.1   http=18080/tcp,18443/udp
web.default.harbour.skerry  web-2      node-2  not ready  10.0.0.2   http=18080/tcp
cache.shop.harbour.skerry   cache-1    node-1  serving    10.88.0.7  redis=6379/tcp (only on node-1)
job.shop.harbour.skerry     job-1      node-1  leaving    -          -
`, "")
	want := &skerryv1.EndpointsRequest{Project: "shop", Workload: "web", Stale: true}
	if diff := cmp.Diff(want, site.names, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	site.endpoints = nil
	expect(t, site, "endpoints", 0, "", "no endpoints\n")
}
