package api

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

// writes are the procedures that only the coordinator carries out.
var writes = map[string]bool{
	skerryv1connect.ResourceServiceApplyProcedure:   true,
	skerryv1connect.ResourceServiceDeleteProcedure:  true,
	skerryv1connect.SiteServiceCreateTokenProcedure: true,
	skerryv1connect.ImageServiceLoadImageProcedure:  true,

	skerryv1connect.AccessServiceChangeGrantsProcedure: true,

	skerryv1connect.IdentityServiceEvictNodeProcedure:      true,
	skerryv1connect.IdentityServiceRevokeOperatorProcedure: true,
	skerryv1connect.IdentityServiceRevokeTokenProcedure:    true,

	// Only the coordinator knows what it has granted.
	skerryv1connect.LeaseServiceLeasesProcedure: true,

	// Only the coordinator hears the nodes' clocks.
	skerryv1connect.SiteTimeServiceGetSiteTimeProcedure:       true,
	skerryv1connect.SiteTimeServiceSetSiteTimeProcedure:       true,
	skerryv1connect.SecretServiceRevealProcedure:              true,
	skerryv1connect.SecretServiceSecretKeysProcedure:          true,
	skerryv1connect.SecretServiceRotateKeyProcedure:           true,
	skerryv1connect.SecretServiceAddRecoveryKeyProcedure:      true,
	skerryv1connect.SecretServiceRemoveRecoveryKeyProcedure:   true,
	skerryv1connect.SecretServiceRecoverSecretsProcedure:      true,
	skerryv1connect.IdentityServiceRotateGossipKeyProcedure:   true,
	skerryv1connect.IdentityServiceRotateAuthoritiesProcedure: true,

	skerryv1connect.NodeServiceRelabelNodeProcedure: true,
	skerryv1connect.NodeServiceConfirmOffProcedure:  true,
	skerryv1connect.NodeServiceChangeDutyProcedure:  true,

	skerryv1connect.PowerServiceStopSiteProcedure:  true,
	skerryv1connect.PowerServiceStartSiteProcedure: true,
	skerryv1connect.VmServicePowerProcedure:        true,

	skerryv1connect.RebalanceServiceRebalanceProcedure:     true,
	skerryv1connect.RebalanceServiceStopRebalanceProcedure: true,

	skerryv1connect.RunServiceStartRunProcedure: true,

	skerryv1connect.AuditServiceArchiveAuditProcedure: true,

	skerryv1connect.RolloutServiceSteerProcedure: true,

	skerryv1connect.BackupServiceCreateBackupProcedure: true,
	skerryv1connect.BackupServiceListBackupsProcedure:  true,

	// It seals secrets, as an apply does.
	skerryv1connect.PlanServicePlanProcedure: true,
}

// forward sends writes on to the coordinator. The request as the caller made
// it travels, not a raft proposal: the coordinator checks and stamps it.
func (s *Server) forward(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !writes[r.URL.Path] || s.Log.Status().Serving {
			next.ServeHTTP(w, r)
			return
		}
		leader := s.coordinator()
		if leader == nil || leader.GetName() == s.Node || forwarded(r) {
			// Also while this node is elected but has not served yet, and when two
			// voters each believe that the other one leads.
			writeError(w, r, s.noCoordinator())
			return
		}
		s.proxy(leader).ServeHTTP(w, r)
	})
}

// forwarded tells whether another voter has sent the call on already.
func forwarded(r *http.Request) bool {
	peer, _ := mtls.PeerFrom(r.Context()) // the zero peer has no role
	return peer.Role == certs.RoleNode
}

// coordinator is the node that this replica believes to lead, nil for none.
func (s *Server) coordinator() *skerryv1.Node {
	leader := s.Log.Status().Leader
	if leader == 0 {
		return nil
	}
	for _, node := range s.Store.View().Nodes() {
		if node.GetRaftId() == leader {
			return node
		}
	}
	return nil
}

func (s *Server) proxy(leader *skerryv1.Node) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: leader.GetAddress()})
			r.Out.Header.Set(fromHeader, hostFrom(r.In.Context()))
			r.Out.Header.Set(onBehalfHeader, principalFrom(r.In.Context()).ID)
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set(client.CoordinatorHeader, leader.GetAddress())
			return nil
		},
		Transport: s.Transport(leader.GetName()),
		ErrorLog:  slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			writeError(w, r, problem.New(problem.Unavailable, "coordinator "+leader.GetName(),
				"the call did not get through: %w", err).
				WithHint("a new coordinator is elected within a second or two; try again"))
		},
		FlushInterval: -1,
	}
}

// noCoordinator is the refusal of a write without quorum.
func (s *Server) noCoordinator() error {
	missing := s.missingVoters()
	p := problem.New(problem.Unavailable, "site "+s.Site, "there is no coordinator: %s reaches no quorum", s.Node)
	if len(missing) > 0 {
		p = problem.New(problem.Unavailable, "site "+s.Site,
			"there is no coordinator: %s reaches no quorum; voters not heard of: %s", s.Node, joinNames(missing))
	}
	return p.WithHint("nothing was changed; workloads go on running; status, get, why, logs and exec answer; " +
		"bring a majority of the voters back into reach of each other")
}
