package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxIdentities bounds the nodes of which a status tells how long their
// workloads stay authenticated; the shortest come first.
const maxIdentities = 10

// identity tells whose it is and how long it lasts with no voter in reach.
func (a *app) identity(s *skerryv1.PlacementStatus) string {
	if s.GetIdentityUntil() == nil {
		return ""
	}
	until := s.GetIdentityUntil().AsTime()
	return fmt.Sprintf("%s until %s, %s", s.GetIdentity(), until.UTC().Format("2006-01-02 15:04 MST"), a.alone(until))
}

// alone is how long identities last.
func (a *app) alone(until time.Time) string {
	left := until.Sub(a.Clock.Now())
	if left <= 0 {
		return "EXPIRED"
	}
	return "for " + age(left)
}

// identitiesOn tells how long all workloads of one node stay authenticated.
func (a *app) identitiesOn(node string, placements []*skerryv1.Placement) string {
	until, there := firstEnds(placements)[node]
	if !there {
		return ""
	}
	return a.alone(until) + " with no voter in reach"
}

// identitiesByNode tells how long the workloads of each node stay authenticated
// with no voter in reach, the shortest first.
func (a *app) identitiesByNode(placements []*skerryv1.Placement) string {
	ends := firstEnds(placements)
	if len(ends) == 0 {
		return ""
	}
	nodes := slices.SortedFunc(maps.Keys(ends), func(x, y string) int {
		return cmp.Or(ends[x].Compare(ends[y]), cmp.Compare(x, y))
	})
	var parts []string
	for _, node := range nodes[:min(len(nodes), maxIdentities)] {
		parts = append(parts, node+" "+a.alone(ends[node]))
	}
	if more := len(nodes) - maxIdentities; more > 0 {
		parts = append(parts, fmt.Sprintf("%d nodes longer", more))
	}
	return strings.Join(parts, ", ") + ", with no voter in reach"
}

// firstEnds is, for each node, when the first identity of a workload ends.
func firstEnds(placements []*skerryv1.Placement) map[string]time.Time {
	ends := map[string]time.Time{}
	for _, p := range placements {
		if p.GetStatus().GetIdentityUntil() == nil || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue
		}
		until := p.GetStatus().GetIdentityUntil().AsTime()
		if known, there := ends[p.GetNode()]; !there || until.Before(known) {
			ends[p.GetNode()] = until
		}
	}
	return ends
}
