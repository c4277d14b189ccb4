package api

import (
	"context"
	"net"
	"slices"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/naming"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

// names implements skerry.v1.NamingService.
type names struct{ *Server }

func (n names) Endpoints(ctx context.Context, req *connect.Request[skerryv1.EndpointsRequest]) (*connect.Response[skerryv1.EndpointsResponse], error) {
	view, freshness := n.read(ctx, req.Msg.GetStale())
	response := &skerryv1.EndpointsResponse{Domain: endpoints.Domain(n.Site), Freshness: freshness}
	call := guard.From(ctx)
	all := wanted(view, req.Msg)
	if name, project := req.Msg.GetWorkload(), projectOr(req.Msg.GetProject(), defaultProject); name != "" && len(all) == 0 &&
		view.Workload(project, name) == nil && call.May(access.Read, access.Object{Kind: "Workload", Project: project, Name: name}) {
		return nil, n.absent(req.Msg.GetStale(), freshness, "Workload", name, project)
	}
	for _, p := range all {
		e := naming.Endpoint(p, view.Serves(p))
		if e == nil || !call.May(access.Read, access.Object{Kind: "Placement", Project: p.GetProject(), Name: p.GetName(), Labels: p.GetLabels()}) {
			continue
		}
		if host, _, err := net.SplitHostPort(view.Node(p.GetNode()).GetAddress()); err == nil {
			e.NodeAddress = host
		}
		response.Endpoints = append(response.Endpoints, e)
	}
	slices.SortFunc(response.Endpoints, endpoints.Compare)
	return connect.NewResponse(response), nil
}

func wanted(view *state.View, msg *skerryv1.EndpointsRequest) []*skerryv1.Placement {
	if msg.GetWorkload() != "" {
		return view.PlacementsOf(projectOr(msg.GetProject(), defaultProject), msg.GetWorkload())
	}
	return slices.DeleteFunc(view.Placements(), func(p *skerryv1.Placement) bool {
		return msg.GetProject() != "" && p.GetProject() != msg.GetProject()
	})
}
