package scheduler

import (
	"fmt"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// tally counts the placements of one workload by the value of one label.
type tally struct {
	of    name
	label string
	// all that may run count, not only what is to run.
	all bool
	at  map[string]int32
	// filled counts values that got their first one.
	filled int
}

func (t *tally) add(n *node, counts bool) {
	if !counts && !t.all {
		return
	}
	value, has := state.Label(n.Node, t.label)
	if !has {
		return
	}
	t.at[value]++
	if t.at[value] == 1 {
		t.filled++
	}
}

// remove one that counted.
func (t *tally) remove(n *node) {
	if value, has := state.Label(n.Node, t.label); has {
		t.at[value]--
	}
}

// there tells whether any of them is at the node's value.
func (t *tally) there(n *node) bool {
	value, has := state.Label(n.Node, t.label)
	return has && t.at[value] > 0
}

// term is one affinity, seen from a class.
type term struct {
	tally *tally
	// away from them; else close to them.
	away bool
	// weight of a wish; 0: a condition.
	weight int32
}

// opens: nodes that were ruled out by it may fit later.
func (t term) opens() bool { return t.weight == 0 && !t.away }

// reaches: what changes on one node changes what others are worth.
func (t term) reaches() bool { return t.opens() || t.tally.label != "name" }

func (t term) met(n *node) bool { return t.tally.there(n) != t.away }

func (t term) describe(n *node) string {
	where := "on it"
	if t.tally.label != "name" {
		value, has := state.Label(n.Node, t.tally.label)
		where = fmt.Sprintf("in %s %s", t.tally.label, value)
		if !has {
			return "it has no label " + t.tally.label
		}
	}
	if t.away {
		return fmt.Sprintf("%s is %s, from which it is kept apart", t.tally.of.name, where)
	}
	return fmt.Sprintf("%s is not %s, with which it must be", t.tally.of.name, where)
}

// terms of a class: its own, and those of workloads that keep apart from it.
func (s *site) terms(c *class) []term {
	var terms []term
	for _, a := range c.spec.GetPlace().GetWith() {
		t := s.tally(name{c.project, a.GetWorkload()}, affinityLabel(a), false)
		terms = append(terms, term{tally: t, weight: int32(a.GetWeight())})
	}
	for _, a := range c.spec.GetPlace().GetApart() {
		t := s.tally(name{c.project, a.GetWorkload()}, affinityLabel(a), a.GetWeight() == 0)
		terms = append(terms, term{tally: t, away: true, weight: int32(a.GetWeight())})
	}
	for _, w := range s.avoiders[c.name] {
		for _, a := range w.GetPlace().GetApart() {
			if a.GetWorkload() == c.name.name && a.GetWeight() == 0 {
				t := s.tally(name{w.GetProject(), w.GetName()}, affinityLabel(a), true)
				terms = append(terms, term{tally: t, away: true})
			}
		}
	}
	return terms
}

func affinityLabel(a *skerryv1.Affinity) string {
	if a.GetOn() == "" {
		return "name"
	}
	return a.GetOn()
}

// avoided notes which workloads others keep apart from.
func (s *site) avoided() {
	s.avoiders = map[name][]*skerryv1.Workload{}
	for _, w := range s.Workloads {
		for _, a := range w.GetPlace().GetApart() {
			of := name{w.GetProject(), a.GetWorkload()}
			if a.GetWeight() == 0 && a.GetWorkload() != w.GetName() && s.workloads[of] != nil {
				s.avoiders[of] = append(s.avoiders[of], w)
			}
		}
	}
}

// tally of a workload by a label, the same for all who ask.
func (s *site) tally(of name, label string, all bool) *tally {
	w := s.interest(of)
	for _, t := range w.tallies {
		if t.label == label && t.all == all {
			return t
		}
	}
	t := &tally{of: of, label: label, all: all, at: map[string]int32{}}
	w.tallies = append(w.tallies, t)
	return t
}
