package whatif

import (
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Survey finds out which losses of one node or one zone a site would not come
// through with everything running: one after the other, on the state as it was
// when the survey began.
type Survey struct {
	store  *state.Store
	screen *screen
	losses []loss
	tried  int
	weak   []*skerryv1.Weakness
}

// NewSurvey of a site; it has tried nothing yet.
func NewSurvey(store *state.Store) *Survey {
	fork := store.Fork()
	return &Survey{store: fork, screen: newScreen(fork.View()), losses: single(fork.View())}
}

// Step tries one more loss; false when all are tried.
func (s *Survey) Step() bool {
	if s.tried == len(s.losses) {
		return false
	}
	loss := s.losses[s.tried]
	s.tried++
	answer, certain := s.screen.lose(loss.question)
	if !certain {
		var err error
		if answer, err = Ask(s.store, loss.question, nil); err != nil {
			return true // it is no loss
		}
	}
	if why := damage(answer); why != "" {
		s.weak = append(s.weak, &skerryv1.Weakness{Loss: loss.name, Why: why})
	}
	return true
}

// Weak are those of the losses tried that would be too much.
func (s *Survey) Weak() []*skerryv1.Weakness { return s.weak }

// Tried is how many losses have been tried, of so many.
func (s *Survey) Tried() (tried, losses int) { return s.tried, len(s.losses) }

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
