package lifecycle

import (
	"fmt"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// planPerNode keeps one placement on each node that is to have one. It stays
// there: what is on a lost node has no replacement elsewhere.
func (s *sheet) planPerNode() {
	s.release()
	s.removeStrays() // before an update, which counts on none of them
	s.update()
	s.moveAway()
	s.succeed()
	s.addToNodes()
}

// removeStrays ends what is on nodes that are not to have it any more, as when
// their labels have changed.
func (s *sheet) removeStrays() {
	for _, p := range s.counted() {
		node := s.view.Node(p.GetNode())
		if p.GetNode() == "" || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || state.Hosts(node, s.w) {
			continue
		}
		if !s.remove(p, fmt.Sprintf("node %s does not meet the conditions any more", p.GetNode())) {
			return
		}
	}
}

// addToNodes fills nodes that have none, not even one that stops.
func (s *sheet) addToNodes() {
	has := map[string]bool{}
	for _, p := range s.all {
		has[p.GetNode()] = true
		if node := state.PinnedTo(p.GetSpec()); p.GetNode() == "" && node != "" {
			has[node] = true
		}
	}
	for node := range s.view.AllNodes() {
		if has[node.GetName()] || !state.Hosts(node, s.w) {
			continue
		}
		if !s.add(&sitev1.NewPlacement{Node: node.GetName()}) {
			return
		}
	}
}
