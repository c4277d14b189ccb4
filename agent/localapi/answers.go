package localapi

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// resources answers reads from the ledger. Writes never get here.
type resources struct{ *Server }

var _ skerryv1connect.ResourceServiceHandler = resources{}

func (r resources) Apply(context.Context, *connect.Request[skerryv1.ApplyRequest]) (*connect.Response[skerryv1.ApplyResponse], error) {
	return nil, problem.ToConnect(r.noVoter())
}

func (r resources) Delete(context.Context, *connect.Request[skerryv1.DeleteRequest]) (*connect.Response[skerryv1.DeleteResponse], error) {
	return nil, problem.ToConnect(r.noVoter())
}

func (r resources) Get(ctx context.Context, req *connect.Request[skerryv1.GetRequest]) (*connect.Response[skerryv1.GetResponse], error) {
	call, msg := guard.From(ctx), req.Msg
	for _, resource := range r.known(msg.GetKind()) {
		if object := access.ObjectOf(resource); object.Name == msg.GetName() && inProject(object, msg.GetProject()) {
			if err := call.Ask(access.Read, object); err != nil {
				return nil, problem.ToConnect(err)
			}
			return connect.NewResponse(&skerryv1.GetResponse{Resource: resource, Freshness: r.freshness()}), nil
		}
	}
	return nil, problem.ToConnect(r.unknown(msg.GetKind(), msg.GetName()))
}

func (r resources) List(ctx context.Context, req *connect.Request[skerryv1.ListRequest]) (*connect.Response[skerryv1.ListResponse], error) {
	return connect.NewResponse(&skerryv1.ListResponse{Resources: readable(ctx, r.known(req.Msg.GetKind())), Freshness: r.freshness()}), nil
}

func (r resources) Explain(ctx context.Context, req *connect.Request[skerryv1.ExplainRequest]) (*connect.Response[skerryv1.ExplainResponse], error) {
	kind, name := req.Msg.GetKind(), req.Msg.GetName()
	placement := func(p *skerryv1.Placement) bool { return p.GetName() == name }
	workload := func(p *skerryv1.Placement) bool { return p.GetWorkload() == name }
	response := &skerryv1.ExplainResponse{Subject: "Placement/" + name, Freshness: r.freshness()}
	if kind != "Workload" {
		response.Placements = r.explained(ctx, req.Msg.GetProject(), placement)
	}
	if len(response.GetPlacements()) == 0 && kind != "Placement" {
		response.Subject, response.Placements = "Workload/"+name, r.explained(ctx, req.Msg.GetProject(), workload)
	}
	if len(response.GetPlacements()) == 0 {
		return nil, problem.ToConnect(r.unknown(cmp.Or(kind, "Workload"), name))
	}
	response.Summary = fmt.Sprintf("%s reaches no voter: what is known is what it runs from its own ledger, by orders %s", r.Node, r.ordered())
	return connect.NewResponse(response), nil
}

// explained are the placements of a project that are asked for, as far as they are
// here and the caller may read them.
func (r resources) explained(ctx context.Context, project string, asked func(*skerryv1.Placement) bool) []*skerryv1.Placement {
	var found []*skerryv1.Placement
	for _, resource := range readable(ctx, r.known("Placement")) {
		if inProject(access.ObjectOf(resource), project) && asked(resource.GetPlacement()) {
			found = append(found, resource.GetPlacement())
		}
	}
	return found
}

// known are the resources of a kind that this node knows of: its own
// placements, and the nodes of the site as its peer book has them.
func (s *Server) known(kind string) []*skerryv1.Resource {
	var out []*skerryv1.Resource
	switch kind {
	case "Placement":
		for _, p := range s.placements() {
			out = append(out, &skerryv1.Resource{Kind: &skerryv1.Resource_Placement{Placement: p}})
		}
	case "Node":
		for _, n := range s.nodes() {
			out = append(out, &skerryv1.Resource{Kind: &skerryv1.Resource_Node{Node: n}})
		}
	}
	return out
}

func (s *Server) placements() []*skerryv1.Placement {
	var out []*skerryv1.Placement
	for _, order := range s.Ledger.Current().GetPlacements() {
		p := proto.CloneOf(order)
		p.Status = s.Placements.Status(p.GetProject(), p.GetName())
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *skerryv1.Placement) int {
		return strings.Compare(a.GetProject()+"/"+a.GetName(), b.GetProject()+"/"+b.GetName())
	})
	return out
}

func (s *Server) nodes() []*skerryv1.Node {
	var out []*skerryv1.Node
	for _, peer := range s.Ledger.Current().GetPeers() {
		node := &skerryv1.Node{
			Kind: "Node", Name: peer.GetName(), Zone: peer.GetZone(), Address: peer.GetAddress(),
			GossipAddress: peer.GetGossipAddress(), Voter: peer.GetVoter(), RaftId: peer.GetRaftId(),
		}
		if peer.GetName() == s.Node {
			node.Conditions = s.Conditions()
		}
		out = append(out, node)
	}
	return out
}

// inProject tells whether an object is in the project that was asked for.
func inProject(object access.Object, project string) bool {
	if project == "" {
		project = "default"
	}
	return !manifest.InProject(object.Kind) || object.Project == project
}

// unknown is not the same as not there: the site may have it.
func (s *Server) unknown(kind, name string) error {
	return problem.New(problem.Unavailable, kind+"/"+name, "%s knows of no such thing, and it reaches no voter", s.Node).
		WithHint("a node alone knows its own placements and the nodes of the site; ask another node for the rest")
}

// age of what is known; nil when it is unknown, because the agent has heard no
// coordinator since it began.
func (s *Server) age() *durationpb.Duration {
	last := s.Voters.LastContact()
	if last == 0 {
		return nil
	}
	return durationpb.New((s.Clock.Elapsed() - last).Round(time.Millisecond))
}

// ordered says when the orders came.
func (s *Server) ordered() string {
	age := s.age()
	if age == nil {
		return "from before it started"
	}
	return fmt.Sprintf("that came %s ago", age.AsDuration().Round(time.Second))
}

func (s *Server) epoch() string {
	order := s.Ledger.Current().GetOrder()
	return fmt.Sprintf("%d.%d", order.GetSiteEpoch(), order.GetTerm())
}

func (s *Server) freshness() *skerryv1.Freshness {
	return &skerryv1.Freshness{
		Epoch: s.epoch(),
		Stale: true,
		Age:   s.age(),
		Index: s.Ledger.Current().GetOrder().GetIndex(),
		Node:  s.Node,
	}
}

// site answers for the site as far as this node knows it.
type site struct{ *Server }

var _ skerryv1connect.SiteServiceHandler = site{}

func (s site) Locate(ctx context.Context, _ *connect.Request[skerryv1.LocateRequest]) (*connect.Response[skerryv1.LocateResponse], error) {
	return connect.NewResponse(&skerryv1.LocateResponse{
		Site:   s.Site,
		Node:   s.Node,
		Voters: s.Voters.Reachable(ctx),
		Epoch:  s.epoch(),
	}), nil
}

func (s site) Status(ctx context.Context, _ *connect.Request[skerryv1.StatusRequest]) (*connect.Response[skerryv1.StatusResponse], error) {
	if err := guard.From(ctx).Ask(access.Read, access.Object{Kind: access.KindSite}); err != nil {
		return nil, problem.ToConnect(err)
	}
	response := &skerryv1.StatusResponse{
		Site:      s.Site,
		SiteId:    s.Ledger.Current().GetSiteId(),
		Freshness: s.freshness(),
	}
	for _, resource := range readable(ctx, s.known("Node")) {
		response.Nodes = append(response.Nodes, resource.GetNode())
	}
	for _, resource := range readable(ctx, s.known("Placement")) {
		response.Placements++
		status := resource.GetPlacement().GetStatus()
		if status.GetPhase() == skerryv1.Phase_PHASE_RUNNING && status.GetReadiness() != skerryv1.Readiness_READINESS_UNHEALTHY {
			response.Healthy++
		}
	}
	for _, peer := range s.Ledger.Current().GetPeers() {
		if peer.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			response.MissingVoters = append(response.MissingVoters, peer.GetName())
		}
	}
	response.Problems = []string{fmt.Sprintf("%s reaches no voter (%s): this answer is about %s alone; check its network",
		s.Node, strings.Join(response.GetMissingVoters(), ", "), s.Node)}
	for _, c := range s.Conditions() {
		response.Problems = append(response.Problems, fmt.Sprintf("node %s: %s: %s", s.Node, c.GetType(), c.GetMessage()))
	}
	return connect.NewResponse(response), nil
}

func (s site) CreateToken(context.Context, *connect.Request[skerryv1.CreateTokenRequest]) (*connect.Response[skerryv1.CreateTokenResponse], error) {
	return nil, problem.ToConnect(s.noVoter())
}

func (s site) ListTokens(context.Context, *connect.Request[skerryv1.ListTokensRequest]) (*connect.Response[skerryv1.ListTokensResponse], error) {
	return nil, problem.ToConnect(s.noVoter())
}

func (s site) Events(context.Context, *connect.Request[skerryv1.EventsRequest], *connect.ServerStream[skerryv1.EventsResponse]) error {
	return problem.ToConnect(s.noVoter())
}
