package api

import (
	"context"
	"crypto/sha256"
	"fmt"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// ListAuthorities shows the CAs that count, and what a rotation waits for.
func (i identities) ListAuthorities(ctx context.Context, _ *connect.Request[skerryv1.ListAuthoritiesRequest]) (*connect.Response[skerryv1.ListAuthoritiesResponse], error) {
	view, freshness := i.read(ctx, false)
	bundle, err := certs.VerifyTrust(view.SiteID(), view.Trust())
	if err != nil {
		return nil, err
	}
	issuers := view.Issuers()
	response := &skerryv1.ListAuthoritiesResponse{Freshness: freshness, Waiting: waitingForAuthorities(view)}
	for _, authority := range bundle.Authorities() {
		sum := sha256.Sum256(authority.Raw)
		node, current := issuers[sum]
		hanging := view.HangsOn(authority.Raw)
		response.Authorities = append(response.Authorities, &skerryv1.Authority{
			Fingerprint: sum[:], Node: node, Current: current, Nodes: hanging, Since: timestamppb.New(authority.NotBefore),
		})
		if !current && len(hanging) > 0 {
			response.Waiting = append(response.Waiting, fmt.Sprintf("new SVIDs for %s", joinNames(hanging)))
		}
	}
	return connect.NewResponse(response), nil
}

// waitingForAuthorities names the nodes that have not made their new CA.
func waitingForAuthorities(view *state.View) []string {
	var waiting []string
	for _, node := range view.Nodes() {
		removed := node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
		if node.GetRaftId() != 0 && !node.GetWitness() && !removed && node.GetAuthorityGeneration() < view.AuthorityGeneration() {
			waiting = append(waiting, "a new CA on "+node.GetName())
		}
	}
	return waiting
}
