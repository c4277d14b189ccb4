package localapi

import (
	"context"
	"strings"

	"skerry.dev/certs/mtls"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
)

// caller of a call, as the audit log names it.
func caller(ctx context.Context) string {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer has no name
	return peer.ID.String()
}

// callers counts what is refused to operators and workloads.
type callers struct{ *Server }

// Count implements counts.Counter.
func (c callers) Count(principal string, refusal *skerryv1.AuditRefusal) {
	if !strings.HasPrefix(principal, "spiffe://"+c.Site+"/node/") {
		c.Refused.Count(principal, refusal)
	}
}

// countLogs notes who reads whose logs. What a voter asks for on behalf of
// somebody it has counted itself.
func (s *Server) countLogs(ctx context.Context, address string, req *skerryv1.LogsRequest) {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer is no voter
	if s.votes(peer) {
		return
	}
	project := req.GetProject()
	if project == "" {
		project = "default"
	}
	s.Reads.Count(peer.ID.String(), &skerryv1.AuditRefusal{
		Resource: "Placement/" + project + "/" + req.GetPlacement(), From: counts.HostOf(address),
	})
}
