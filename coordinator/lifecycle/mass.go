package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// loss of one node.
type loss struct {
	zone string
	at   time.Duration
}

// mass failure of which the consequences wait.
type mass struct {
	// until replacing waits; never when it does not.
	until time.Duration
	// lost nodes of so many in the site.
	lost, site int
	// window in which losses count as one.
	window time.Duration
	// recovered: the site was, and waits for the nodes to be heard again.
	recovered bool
}

// findMass looks back from each loss, never ahead: the first losses are
// handled at once, and only what is lost when too many are holds up the rest
// (SAFETY, rule 5).
func findMass(rule manifest.Losses, losses []loss, site int) mass {
	found := mass{until: never, lost: len(losses), site: site, window: rule.Window}
	if rule.Wait == 0 {
		return found
	}
	slices.SortStableFunc(losses, func(a, b loss) int { return cmp.Compare(a.at, b.at) })
	from := 0
	for i, last := range losses {
		for last.at-losses[from].at > rule.Window {
			from++
		}
		if isMass(rule, losses[from:i+1], site) {
			found.until = last.at + rule.Wait
		}
	}
	return found
}

// isMass: so many, more than a share of the site, not all in one zone.
func isMass(rule manifest.Losses, together []loss, site int) bool {
	if len(together) < max(2, rule.Nodes) || rule.Whole*len(together) <= rule.Part*site {
		return false
	}
	return slices.ContainsFunc(together, func(l loss) bool { return l.zone != together[0].zone })
}

// findMass among the nodes that are lost now.
func (s *step) findMass() mass {
	var losses []loss
	site := 0
	for node := range s.view.AllNodes() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || node.GetDuty().GetDuty() == skerryv1.Duty_DUTY_MAINTENANCE {
			continue // nobody wonders about one in maintenance
		}
		site++
		if w := s.nodes[node.GetName()]; w.isLost() {
			losses = append(losses, loss{zone: node.GetZone(), at: w.lost})
		}
	}
	rule := manifest.LossesOf(s.view.Settings())
	found := findMass(rule, losses, site)
	if recovery := s.view.Recovery(); recovery != nil && rule.Wait > 0 && len(s.view.Awaited()) > 0 {
		// Its nodes find it one after the other, and are adopted with what they run.
		if until := s.now - max(0, s.wall.Sub(recovery.GetTime().AsTime())) + rule.Wait; until > s.now && (found.until == never || until > found.until) {
			found.until, found.recovered = until, true
		}
	}
	return found
}

// explain to people why so many placements are not replaced yet.
func (m mass) explain(now time.Duration, placements int) string {
	if m.recovered {
		return fmt.Sprintf("the site was recovered, and %d of %d nodes were not heard since: what ran there is replaced in %s (placements that wait: %d)",
			m.lost, m.site, (m.until - now).Round(time.Second), placements)
	}
	return fmt.Sprintf("%d of %d nodes are lost, several of them within %s and in different zones: "+
		"in case it is only the network, what ran there is replaced in %s (placements that wait: %d)",
		m.lost, m.site, m.window, (m.until - now).Round(time.Second), placements)
}
