package localapi

import (
	"bytes"
	"context"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// guard decides from the ledger, as the coordinator did when the last orders
// came.
func (s *Server) guard() guard.Config {
	return guard.Config{Who: s.who, Judge: s.judge, Labels: s.labels}
}

// who makes a call: a voter among nodes is one that this node knows as such.
func (s *Server) who(ctx context.Context) access.Principal {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer is nobody who may call
	who := access.PrincipalOf(peer.ID.String())
	if s.votes(peer) {
		who.Caller = skerryv1.Caller_CALLER_VOTER
	}
	return who
}

func (s *Server) records() *sitev1.AccessRecords { return s.Ledger.Current().GetAccess() }

func (s *Server) judge() *access.Judge { return s.judges.At(s.records().GetRevision(), s.records) }

// labels of a placement of this node.
func (s *Server) labels(kind, project, name string) map[string]string {
	for _, p := range s.Ledger.Current().GetPlacements() {
		if kind == "Placement" && p.GetProject() == project && p.GetName() == name {
			return p.GetLabels()
		}
	}
	return nil
}

// checkKey refuses an operator whose record has another key: one that was
// revoked, or joined again.
func (s *Server) checkKey(peer certs.Peer) error {
	records := s.records()
	if peer.Role != certs.RoleOperator || records == nil {
		return nil
	}
	for _, operator := range records.GetOperators() {
		if operator.GetName() == peer.Name && bytes.Equal(operator.GetKeyFingerprint(), peer.KeyFingerprint) {
			return nil
		}
	}
	return problem.New(problem.Forbidden, peer.ID.String(), "%s has no record of this operator with this key", s.Node).
		WithHint("it reaches no voter and goes by what it knew last; ask another node")
}

// readable are those of the resources that the caller may read.
func readable(ctx context.Context, all []*skerryv1.Resource) []*skerryv1.Resource {
	call := guard.From(ctx)
	var some []*skerryv1.Resource
	for _, resource := range all {
		if call.May(access.Read, access.ObjectOf(resource)) {
			some = append(some, resource)
		}
	}
	return some
}
