package api

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxAwaited nodes are named in one line.
const maxAwaited = 5

// recoveries implements skerry.v1.RecoveryService.
type recoveries struct{ *Server }

// Report tells how the site differs from what its nodes ran.
func (r recoveries) Report(ctx context.Context, _ *connect.Request[skerryv1.ReportRequest]) (*connect.Response[skerryv1.ReportResponse], error) {
	view, freshness := r.read(ctx, false)
	return connect.NewResponse(&skerryv1.ReportResponse{Recovery: view.Recovery(), Awaited: view.Awaited(), Freshness: freshness}), nil
}

// recoveryProblems says which nodes were not heard since the site was recovered.
func recoveryProblems(view *state.View) []string {
	awaited := view.Awaited()
	if len(awaited) == 0 {
		return nil
	}
	named := strings.Join(awaited[:min(len(awaited), maxAwaited)], ", ")
	if more := len(awaited) - maxAwaited; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return []string{fmt.Sprintf("the site was recovered at %s, and these nodes were not heard since: %s: bring them back; "+
		"what stays on one that is off starts elsewhere after skerry node confirm-off NAME", view.Recovery().GetTime().AsTime().Format(stamp), named)}
}
