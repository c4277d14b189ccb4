package localapi

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

// Names tells what this node's DNS answers from.
type Names interface {
	// Endpoints of the site as far as this node knows them, sorted.
	Endpoints() []*skerryv1.Endpoint
	// Address of a node; empty when it is not known.
	Address(node string) string
}

// names implements skerry.v1.NamingService for a node that is alone.
type names struct{ *Server }

func (n names) Endpoints(ctx context.Context, req *connect.Request[skerryv1.EndpointsRequest]) (*connect.Response[skerryv1.EndpointsResponse], error) {
	msg, project := req.Msg, req.Msg.GetProject()
	if project == "" && msg.GetWorkload() != "" {
		project = "default"
	}
	response := &skerryv1.EndpointsResponse{Domain: endpoints.Domain(n.Site), Freshness: n.freshness()}
	call := guard.From(ctx)
	for _, e := range n.Names.Endpoints() {
		if project != "" && e.GetProject() != project || msg.GetWorkload() != "" && e.GetWorkload() != msg.GetWorkload() {
			continue
		}
		if n.mayRead(call, e) {
			shown := proto.CloneOf(e)
			shown.NodeAddress = n.Names.Address(e.GetNode())
			response.Endpoints = append(response.Endpoints, shown)
		}
	}
	return connect.NewResponse(response), nil
}

// mayRead: of placements of other nodes no labels are known here, so a policy
// that goes by labels does not hold for their names; any container may ask DNS
// for those.
func (n names) mayRead(call *guard.Call, e *skerryv1.Endpoint) bool {
	return call.May(access.Read, access.Object{
		Kind: "Placement", Project: e.GetProject(), Name: e.GetPlacement(), Labels: n.labels("Placement", e.GetProject(), e.GetPlacement()),
	})
}
