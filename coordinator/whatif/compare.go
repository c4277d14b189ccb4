package whatif

import (
	"cmp"
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// compare says what became of every placement.
func compare(answer *skerryv1.WhatIfResponse, before, after *state.View, lost, drained []string) {
	ended := map[string][]*skerryv1.Placement{} // by workload, that nothing has taken the place of
	predecessor := map[string]*skerryv1.Placement{}
	for _, old := range before.Placements() {
		p := after.Placement(old.GetProject(), old.GetName())
		switch {
		case old.GetNode() == "" || !state.Counts(old):
		case p.GetReplacedBy() != "":
			predecessor[old.GetProject()+"/"+p.GetReplacedBy()] = old
		case p == nil || !state.Counts(p):
			ended[workloadOf(old)] = append(ended[workloadOf(old)], old)
		case slices.Contains(lost, p.GetNode()) && !p.GetSpec().GetPerNode():
			answer.Stranded = append(answer.Stranded, stranded(old, whyLost(answer, old)))
		case slices.Contains(drained, p.GetNode()) && p.GetSpec().GetPerNode() && !state.ToMaintenance(after.Node(p.GetNode())):
			// It belongs to the node.
		case slices.Contains(drained, p.GetNode()):
			answer.Stranded = append(answer.Stranded, stranded(old, whyLeft(after, p)))
		}
	}
	for _, p := range after.Placements() {
		old := before.Placement(p.GetProject(), p.GetName())
		if !state.Counts(p) || (old != nil && old.GetNode() == p.GetNode() && old.GetNode() != "") {
			continue
		}
		if old.GetNode() != "" { // it has migrated
			answer.Moves = append(answer.Moves, &skerryv1.Move{
				Project: p.GetProject(), Workload: p.GetWorkload(), Placement: p.GetName(), From: old.GetNode(), To: p.GetNode(), Live: true,
			})
			continue
		}
		from := predecessor[keyOf(p)]
		if of := workloadOf(p); from == nil && len(ended[of]) > 0 {
			from, ended[of] = ended[of][0], ended[of][1:]
		}
		if p.GetNode() == "" && state.IsStay(p.GetSpec()) && state.ToMaintenance(after.Node(from.GetNode())) {
			answer.Pausing = append(answer.Pausing, stranded(from, "it stays on its node, where it starts again afterwards"))
			continue
		}
		if p.GetNode() == "" {
			answer.Stranded = append(answer.Stranded, pending(p, old, from))
			continue
		}
		answer.Moves = append(answer.Moves, &skerryv1.Move{
			Project: p.GetProject(), Workload: p.GetWorkload(), Placement: from.GetName(), From: from.GetNode(), To: p.GetNode(),
		})
	}
	for _, of := range sortedKeys(ended) {
		for _, old := range ended[of] {
			answer.Moves = append(answer.Moves, &skerryv1.Move{
				Project: old.GetProject(), Workload: old.GetWorkload(), Placement: old.GetName(), From: old.GetNode(),
			})
		}
	}
	slices.SortStableFunc(answer.Moves, func(a, b *skerryv1.Move) int {
		return slices.Compare(
			[]string{a.GetProject(), a.GetWorkload(), a.GetPlacement(), a.GetTo()},
			[]string{b.GetProject(), b.GetWorkload(), b.GetPlacement(), b.GetTo()})
	})
}

func workloadOf(p *skerryv1.Placement) string { return p.GetProject() + "/" + p.GetWorkload() }

func sortedKeys(m map[string][]*skerryv1.Placement) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// pending is a placement that finds no node, in place of one that had one.
func pending(p, old, from *skerryv1.Placement) *skerryv1.Stranded {
	s := stranded(p, p.GetDecision().GetSummary())
	if s.GetWhy() == "" {
		s.Why = "it waits for a decision"
	}
	switch {
	case from != nil:
		s.Placement, s.Node = from.GetName(), from.GetNode()
	case old == nil:
		s.Placement = "" // it has no name yet
	}
	return s
}

func stranded(p *skerryv1.Placement, why string) *skerryv1.Stranded {
	return &skerryv1.Stranded{
		Project: p.GetProject(), Workload: p.GetWorkload(), Placement: p.GetName(), Node: p.GetNode(), Why: why,
	}
}

// whyLeft says why a placement could not leave a node that is drained.
func whyLeft(after *state.View, p *skerryv1.Placement) string {
	w := after.Workload(p.GetProject(), p.GetWorkload())
	all := after.PlacementsOf(p.GetProject(), p.GetWorkload())
	switch {
	case (state.IsStay(p.GetSpec()) || state.IsStay(w)) && !state.ToMaintenance(after.Node(p.GetNode())):
		return fmt.Sprintf("it stays on its node (partition.mode: stay) and runs on there%s: "+
			"skerry node maintenance %s stops it in good order and starts it again afterwards", whyNotLive(after, p), p.GetNode())
	case state.IsHealthy(p) && state.Spare(w, all, state.AtATime(w)) == 0 && w.GetMinAvailable() != "":
		return fmt.Sprintf("%s must keep %s healthy (minAvailable), and has %d: make the others healthy, or lower it",
			w.GetName(), w.GetMinAvailable(), healthy(all))
	case state.IsHealthy(p) && state.Spare(w, all, state.AtATime(w)) == 0:
		return fmt.Sprintf("%d of %d placements of %s are healthy: make the others healthy first: skerry why %s",
			healthy(all), manifest.Wanted(w), w.GetName(), w.GetName())
	default:
		return "it has not moved"
	}
}

// whyNotLive says why a virtual machine does not leave while it runs.
func whyNotLive(after *state.View, p *skerryv1.Placement) string {
	why := cmp.Or(state.WhyNotLive(p, after.Volume), p.GetMigration().GetWhy())
	if p.GetSpec().GetVm() == nil || why == "" {
		return ""
	}
	return ", and cannot move while it runs (" + why + ")"
}

func healthy(all []*skerryv1.Placement) int {
	count := 0
	for _, p := range all {
		if state.IsHealthy(p) {
			count++
		}
	}
	return count
}

func whyLost(answer *skerryv1.WhatIfResponse, p *skerryv1.Placement) string {
	switch {
	case !answer.GetQuorum():
		return "its node is lost, and without a quorum nothing is replaced"
	case state.IsStay(p.GetSpec()):
		return "its node is lost, and it stays there: nothing starts it elsewhere"
	}
	return "its node is lost, and nothing has replaced it"
}
