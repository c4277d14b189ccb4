package api

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"strings"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/access"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/problem"
)

// onBehalfHeader names the operator for whom a voter forwards a call.
const onBehalfHeader = "Skerry-On-Behalf-Of"

type callerKey struct{}

// caller is who calls, and from which host.
type caller struct {
	principal access.Principal
	from      string
}

// withCaller returns the context of a call.
func withCaller(ctx context.Context, id, from string) context.Context {
	return context.WithValue(ctx, callerKey{}, &caller{access.PrincipalOf(id), from})
}

// principalFrom returns the caller; nobody outside of a call.
func principalFrom(ctx context.Context) access.Principal {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c.principal
	}
	return access.Principal{}
}

// hostFrom is the host from which the caller called.
func hostFrom(ctx context.Context) string {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c.from
	}
	return ""
}

// authenticate finds out who calls, on every call: records change while
// connections stay open.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		principal, err := s.principal(r)
		if err != nil {
			if principal == "" {
				peer, _ := mtls.PeerFrom(r.Context()) // nobody, if it shows no identity
				principal = peer.ID.String()
			}
			countRefusal(s.Refused, principal, counts.HostOf(r.RemoteAddr), r.URL.Path, err)
			writeError(w, r, err)
			return
		}
		from := callerHost(r) // a voter that forwards may name it, nobody else
		r.Header.Del(onBehalfHeader)
		r.Header.Del(fromHeader)
		next.ServeHTTP(w, r.WithContext(withCaller(r.Context(), principal, from)))
	})
}

func (s *Server) principal(r *http.Request) (string, error) {
	peer, ok := mtls.PeerFrom(r.Context())
	if !ok {
		return "", problem.New(problem.Unauthenticated, "", "the connection shows no SPIFFE identity")
	}
	switch peer.Role {
	case certs.RoleOperator:
		return peer.ID.String(), s.checkOperator(peer)
	case certs.RoleNode:
		return s.onBehalf(peer, r.Header.Get(onBehalfHeader))
	default:
		return peer.ID.String(), s.checkWorkload(peer)
	}
}

// checkWorkload admits what the site runs; what it may do, policies say.
func (s *Server) checkWorkload(peer certs.Peer) error {
	project, name, _ := strings.Cut(peer.Name, "/")
	if s.Store.View().Workload(project, name) == nil {
		return problem.New(problem.Forbidden, peer.ID.String(), "the site has no such workload any more")
	}
	return nil
}

func (s *Server) checkOperator(peer certs.Peer) error {
	record := s.Store.View().Operator(peer.Name)
	if record == nil {
		return problem.New(problem.Forbidden, peer.ID.String(), "the site has no record of this operator").
			WithHint("ask an operator of the site for: skerry token create --role operator --name %s --grant ROLE", peer.Name)
	}
	if !bytes.Equal(record.GetKeyFingerprint(), peer.KeyFingerprint) {
		return problem.New(problem.Forbidden, peer.ID.String(),
			"the site knows this operator with another key than %s", hex.EncodeToString(peer.KeyFingerprint[:8])).
			WithHint("use the credentials of the last join")
	}
	return nil
}

// onBehalf accepts a caller named by another voter. Only voters forward: nodes
// whose record says that they vote, with the key of that record. An earlier
// node of the name may still have an SVID that is valid.
func (s *Server) onBehalf(peer certs.Peer, principal string) (string, error) {
	node := s.Store.View().Node(peer.Name)
	votes := node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER &&
		node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED &&
		bytes.Equal(node.GetKeyFingerprint(), peer.KeyFingerprint)
	if !votes || principal == "" {
		return "", problem.New(problem.Forbidden, peer.ID.String(), "nodes may not call the operators' API").
			WithHint("use an operator's credentials")
	}
	return principal, nil
}
