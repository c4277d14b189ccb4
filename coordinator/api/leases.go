package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Granted is what the coordinator knows of leases.
type Granted interface {
	// Left is how long a placement's lease may still be held, by whomever it was
	// granted; mine is false when this coordinator has granted none that lasts.
	Left(project, placement string, lease, now time.Duration) (left time.Duration, mine bool)
}

// leaseService implements skerry.v1.LeaseService.
type leaseService struct{ *Server }

// Leases of all exclusive placements that may be running.
func (l leaseService) Leases(ctx context.Context, req *connect.Request[skerryv1.LeasesRequest]) (*connect.Response[skerryv1.LeasesResponse], error) {
	view, freshness := l.read(ctx, false)
	granted := l.Granted()
	if granted == nil {
		return nil, l.noCoordinator()
	}
	response := &skerryv1.LeasesResponse{Freshness: freshness}
	call := guard.From(ctx)
	for _, p := range view.Placements() {
		if !state.MayRun(p) || (req.Msg.GetProject() != "" && p.GetProject() != req.Msg.GetProject()) ||
			!call.May(access.Read, access.Object{Kind: "Placement", Project: p.GetProject(), Name: p.GetName(), Labels: p.GetLabels()}) {
			continue
		}
		response.Leases = append(response.Leases, l.leaseOf(view, granted, p))
	}
	slices.SortFunc(response.Leases, func(a, b *skerryv1.Lease) int {
		return cmp.Or(cmp.Compare(a.GetProject(), b.GetProject()), cmp.Compare(a.GetPlacement(), b.GetPlacement()))
	})
	return connect.NewResponse(response), nil
}

func (l leaseService) leaseOf(view *state.View, granted Granted, p *skerryv1.Placement) *skerryv1.Lease {
	lease := manifest.LeaseOf(p.GetSpec())
	left, mine := granted.Left(p.GetProject(), p.GetName(), lease, l.Clock.Elapsed())
	node := view.Node(p.GetNode())
	found := &skerryv1.Lease{
		Project: p.GetProject(), Workload: p.GetWorkload(), Placement: p.GetName(), Node: p.GetNode(),
		Lease: durationpb.New(lease), Left: durationpb.New(left),
		ReplacedNext: node.GetState() != skerryv1.NodeState_NODE_STATE_READY,
	}
	switch {
	case found.ReplacedNext && isAwaited(view, p):
		found.ReplacedNext = false
		found.Summary = fmt.Sprintf("%s may run it %s", p.GetNode(), untilReplaced(view, p))
	case found.ReplacedNext && left > 0:
		found.Summary = fmt.Sprintf("%s is lost and may run it for another %s; %s", p.GetNode(), tenths(left), thenReplaced)
	case found.ReplacedNext:
		found.Summary = fmt.Sprintf("%s is lost, and its lease has ended: another one takes its place when what was lost is replaced", p.GetNode())
	case mine:
		found.Summary = fmt.Sprintf("held by %s, ends in %s unless renewed", p.GetNode(), tenths(left))
	case p.GetStatus().GetMessage() != "":
		found.Summary = fmt.Sprintf("not held by %s: %s", p.GetNode(), p.GetStatus().GetMessage())
	default:
		found.Summary = fmt.Sprintf("%s has not asked this coordinator for it yet", p.GetNode())
	}
	return found
}

// isAwaited: the node of a placement was not heard since the site was recovered.
// Nobody knows under which lease it runs there.
func isAwaited(view *state.View, p *skerryv1.Placement) bool {
	node := view.Node(p.GetNode())
	return node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED && !view.Adopted(node)
}

// thenReplaced says no time: replacing may be held back for longer than a lease
// lasts, of which status tells once for all that wait.
const thenReplaced = "another one takes its place when that is over and what was lost is replaced"

// untilReplaced says until when what is exclusive may run on its node, which is lost.
func untilReplaced(view *state.View, p *skerryv1.Placement) string {
	if isAwaited(view, p) {
		return fmt.Sprintf("until that node is heard, which it was not since the site was recovered, or somebody says that it is off: skerry node confirm-off %s", p.GetNode())
	}
	return fmt.Sprintf("until its lease of %s has ended at the latest; %s", p.GetSpec().GetPartition().GetLease(), thenReplaced)
}

func tenths(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }
