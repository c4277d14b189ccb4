package whatif

import (
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxLosses are tried for one answer.
	maxLosses = 64
	// maxEffort bounds losses times placements.
	maxEffort = 3_000
)

// Survives says which losses of one node or one zone the site would not come
// through with everything running; none when it would come through any. all is
// false when the site is too large for all to be tried.
func Survives(store *state.Store) (weak []*skerryv1.Weakness, all bool) {
	view := store.View()
	losses := single(view)
	tried := min(len(losses), maxLosses, maxEffort/(len(view.Placements())+1))
	for _, loss := range losses[:tried] {
		answer, err := Ask(store, loss.question, nil)
		if err != nil {
			continue // it left the site meanwhile
		}
		if why := damage(answer); why != "" {
			weak = append(weak, &skerryv1.Weakness{Loss: loss.name, Why: why})
		}
	}
	return weak, tried == len(losses)
}

type loss struct {
	name     string
	question *skerryv1.WhatIfRequest
}

// single losses: each zone of several nodes, then each node.
func single(view *state.View) []loss {
	var zones, nodes []loss
	count := map[string]int{}
	for _, node := range view.Nodes() {
		if node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
			continue
		}
		nodes = append(nodes, loss{"node " + node.GetName(), &skerryv1.WhatIfRequest{LoseNodes: []string{node.GetName()}}})
		count[node.GetZone()]++
		if count[node.GetZone()] == 2 {
			zones = append(zones, loss{"zone " + node.GetZone(), &skerryv1.WhatIfRequest{LoseZones: []string{node.GetZone()}}})
		}
	}
	return append(zones, nodes...)
}

// waitsAlready tells what has no node as things are: no loss is to blame for it.
func waitsAlready(s *skerryv1.Stranded) bool { return s.GetNode() == "" && s.GetPlacement() != "" }

// damage in one sentence; empty when there is none.
func damage(answer *skerryv1.WhatIfResponse) string {
	runs := slices.DeleteFunc(slices.Clone(answer.GetStranded()), waitsAlready)
	switch lost := len(runs); {
	case !answer.GetQuorum():
		return fmt.Sprintf("%d of %d voters would be left: no quorum, so no changes and no replacing", answer.GetVotersLeft(), answer.GetVoters())
	case lost == 1:
		s := runs[0]
		return fmt.Sprintf("a placement of %s would not run: %s", s.GetWorkload(), s.GetWhy())
	case lost > 1:
		s := runs[0]
		return fmt.Sprintf("%d placements would not run, such as one of %s: %s", lost, s.GetWorkload(), s.GetWhy())
	}
	return ""
}
