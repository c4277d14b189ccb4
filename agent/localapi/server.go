package localapi

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/runtime"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/wire"
)

// maxMessage bounds one message.
const maxMessage = 1<<20 + 64<<10

// Ledger is what the node knows of the site.
type Ledger interface {
	// Current is nil before the first orders have come.
	Current() *sitev1.Assignments
	// Changed is closed when the next orders come.
	Changed() <-chan struct{}
}

// Placements tells how this node's placements are.
type Placements interface {
	// Status is nil for one that is not on this node.
	Status(project, name string) *skerryv1.PlacementStatus
}

// Voters looks for voters in reach.
type Voters interface {
	// Reachable returns addresses, the coordinator's first if it is known. It
	// takes at most half a second.
	Reachable(ctx context.Context) []string
	// LastContact is when the coordinator was last heard, on elapsed time; 0 when it
	// was not since the agent began.
	LastContact() time.Duration
}

// Recovery is what this node knows of recoveries of the site.
type Recovery interface {
	// Recovered tells of a coordinator of a site epoch, by the ID of the recovery with
	// which that began, nil from older versions, and where it answers.
	Recovered(ctx context.Context, siteEpoch uint64, recovery []byte, address string)
	// Position of this node's replica, if it holds one.
	Position(ctx context.Context) *sitev1.PingResponse
}

// Config of a server. All fields are required.
type Config struct {
	Node, Site string
	Ledger     Ledger
	Placements Placements
	// Conditions of this node that need attention.
	Conditions func() []*skerryv1.Condition
	Voters     Voters
	Recovery   Recovery
	Driver     runtime.Driver
	Names      Names
	// Spool keeps what must get into the audit log, durably.
	Spool Spool
	// Queue keeps changes until a coordinator is in reach.
	Queue deferred.Queue
	// Refused and Reads count, for the audit log, what is refused here and whose
	// logs are read while no voter is in reach.
	Refused, Reads counts.Counter
	SiteTime       func() time.Time
	Clock          env.Clock
	Rand           env.Rand
	Logger         *slog.Logger
}

// Server answers for one node.
type Server struct {
	Config
	operators http.Handler
	peers     http.Handler
	judges    access.Cache
}

// New returns a server; it starts nothing.
func New(config Config) *Server {
	s := &Server{Config: config}
	// What voters ask for somebody they count themselves.
	options := []connect.HandlerOption{wire.Bounded(maxMessage), connect.WithInterceptors(counts.Refusing(callers{s}, caller), guard.New(s.guard()))}

	operators := http.NewServeMux()
	operators.Handle(skerryv1connect.NewResourceServiceHandler(resources{s}, options...))
	operators.Handle(skerryv1connect.NewSiteServiceHandler(site{s}, options...))
	operators.Handle(skerryv1connect.NewPlacementServiceHandler(placements{s}, options...))
	operators.Handle(skerryv1connect.NewNamingServiceHandler(names{s}, options...))
	operators.Handle(skerryv1connect.NewQueueServiceHandler(s.queueService(), options...))
	operators.Handle(skerryv1connect.NewImageServiceHandler(skerryv1connect.UnimplementedImageServiceHandler{}, options...))
	s.operators = s.redirect(operators)

	peers := http.NewServeMux()
	path, handler := skerryv1connect.NewPlacementServiceHandler(placements{s}, options...)
	peers.Handle(path, s.forVoters(handler))
	path, handler = skerryv1connect.NewDiskServiceHandler(disks{s}, options...)
	peers.Handle(path, s.forVoters(handler))
	peers.Handle(sitev1connect.NewPeerServiceHandler(ping{s}, options...))
	s.peers = peers
	return s
}

// Operators answers operators.
func (s *Server) Operators() http.Handler { return s.operators }

// Peers answers other nodes: any of them whether this one lives, voters the
// rest.
func (s *Server) Peers() http.Handler { return s.peers }

// forVoters admits nodes that this node knows to be voters: they ask on behalf
// of operators whom they have checked.
func (s *Server) forVoters(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, _ := mtls.PeerFrom(r.Context())
		if !s.votes(peer) {
			refuse(w, r, problem.New(problem.Forbidden, peer.ID.String(), "only voters of the site may ask this"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// votes tells whether this node knows the peer to be a voter.
func (s *Server) votes(peer certs.Peer) bool {
	return slices.ContainsFunc(s.Ledger.Current().GetPeers(), func(known *sitev1.Peer) bool {
		return known.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && isPeer(known, peer)
	})
}

// isPeer tells whether the peer is the node of this entry. An earlier node of
// its name may still have an SVID that is valid.
func isPeer(known *sitev1.Peer, peer certs.Peer) bool {
	key := known.GetKeyFingerprint()
	return peer.Role == certs.RoleNode && known.GetName() == peer.Name &&
		(len(key) == 0 || bytes.Equal(key, peer.KeyFingerprint))
}

// redirect sends operators on to a voter in reach. Locate is answered here: it
// is what tells a client whom to ask.
func (s *Server) redirect(own http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := mtls.PeerFrom(r.Context())
		if ok && s.votes(peer) {
			// It takes this node for the coordinator, whose replica has not
			// started yet, or has stopped.
			refuse(w, r, problem.New(problem.Unavailable, "site "+s.Site, "%s does not coordinate, its replica of the log does not run", s.Node).
				WithHint("a coordinator is elected within a second or two; try again"))
			return
		}
		if !ok || peer.Role == certs.RoleNode {
			refuse(w, r, problem.New(problem.Forbidden, "", "only operators and workloads may call this API"))
			return
		}
		if r.URL.Path == skerryv1connect.SiteServiceLocateProcedure {
			own.ServeHTTP(w, r)
			return
		}
		if voters := s.Voters.Reachable(r.Context()); len(voters) > 0 {
			http.Redirect(w, r, "https://"+voters[0]+r.URL.RequestURI(), http.StatusTemporaryRedirect)
			return
		}
		if err := s.checkKey(peer); err != nil {
			counts.Refused(s.Refused, peer.ID.String(), counts.HostOf(r.RemoteAddr), r.URL.Path, err)
			refuse(w, r, err)
			return
		}
		if alone[r.URL.Path] {
			own.ServeHTTP(w, r)
			return
		}
		refuse(w, r, s.noVoter())
	})
}

// alone are the procedures that a node answers without any voter.
var alone = map[string]bool{
	skerryv1connect.ResourceServiceGetProcedure:     true,
	skerryv1connect.ResourceServiceListProcedure:    true,
	skerryv1connect.ResourceServiceExplainProcedure: true,
	skerryv1connect.SiteServiceStatusProcedure:      true,
	skerryv1connect.NamingServiceEndpointsProcedure: true,
	skerryv1connect.PlacementServiceLogsProcedure:   true,
	skerryv1connect.PlacementServiceExecProcedure:   true,
	skerryv1connect.QueueServiceQueueProcedure:      true,
	skerryv1connect.QueueServiceListQueuedProcedure: true,
	skerryv1connect.QueueServiceWithdrawProcedure:   true,
}

func (s *Server) noVoter() error {
	for _, c := range s.Conditions() {
		return problem.New(problem.Unavailable, "site "+s.Site, "%s reaches no voter of the site, and has the condition %s: %s",
			s.Node, c.GetType(), c.GetMessage()).
			WithHint("nothing was changed; workloads go on running; end the condition, or ask another node")
	}
	return problem.New(problem.Unavailable, "site "+s.Site, "%s reaches no voter of the site%s", s.Node, s.missingVoters()).
		WithHint("nothing was changed; workloads go on running; status, get, why, logs and exec " +
			"answer for this node alone; check its network, or ask another node")
}

// missingVoters names those that this node knows, none of which it reaches.
func (s *Server) missingVoters() string {
	var names []string
	for _, known := range s.Ledger.Current().GetPeers() {
		if known.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && known.GetName() != s.Node {
			names = append(names, known.GetName())
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; voters not heard of: " + strings.Join(names, ", ")
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	// The only failure left is a connection that is gone.
	_ = connect.NewErrorWriter().Write(w, r, problem.ToConnect(err))
}

// ping implements PeerService.
type ping struct{ *Server }

func (p ping) Ping(ctx context.Context, req *connect.Request[sitev1.PingRequest]) (*connect.Response[sitev1.PingResponse], error) {
	if req.Msg.GetSiteEpoch() > 0 {
		p.Recovery.Recovered(ctx, req.Msg.GetSiteEpoch(), req.Msg.GetRecovery(), req.Msg.GetAddress())
	}
	response := p.Recovery.Position(ctx)
	response.Node = p.Node
	return connect.NewResponse(response), nil
}
