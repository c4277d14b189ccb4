package scheduler

import (
	"cmp"
	"slices"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// MaxDecisions of one call; what is left comes next time.
const MaxDecisions = 512

// maxVerdicts of one decision.
const maxVerdicts = 32

// Input is the part of the site's state that matters.
type Input struct {
	// Index of the state.
	Index uint64
	// Workloads tells how many placements there may be of what stays.
	Workloads []*skerryv1.Workload
	Nodes     []*skerryv1.Node
	// Placements of all workloads: those with a node take room there, those
	// without are to be placed.
	Placements []*skerryv1.Placement
	Images     []*skerryv1.Image
}

// Schedule finds a node for each pending placement, oldest first, or says why
// there is none. Postponements that say what the placement says already are
// left out.
func Schedule(in Input) ([]*sitev1.Assignment, []*sitev1.Postponement) {
	waiting := pendingOf(in.Placements)
	if len(waiting) == 0 {
		return nil, nil
	}
	s := newSite(in)
	var assigned []*sitev1.Assignment
	var postponed []*sitev1.Postponement
	for _, p := range waiting {
		if len(assigned)+len(postponed) == MaxDecisions {
			break
		}
		node, decision := s.place(p)
		if node != nil {
			assigned = append(assigned, &sitev1.Assignment{
				Project: p.GetProject(), Placement: p.GetName(), Node: node.GetName(), Decision: decision,
			})
		} else if !state.SameDecision(p.GetDecision(), decision) {
			postponed = append(postponed, &sitev1.Postponement{Project: p.GetProject(), Placement: p.GetName(), Decision: decision})
		}
	}
	return assigned, postponed
}

// pendingOf returns what is to be placed, oldest first.
func pendingOf(all []*skerryv1.Placement) []*skerryv1.Placement {
	var waiting []*skerryv1.Placement
	for _, p := range all {
		if p.GetNode() == "" && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			waiting = append(waiting, p)
		}
	}
	slices.SortFunc(waiting, func(a, b *skerryv1.Placement) int {
		return cmp.Or(
			cmp.Compare(a.GetCreated().GetSeconds(), b.GetCreated().GetSeconds()),
			cmp.Compare(a.GetCreated().GetNanos(), b.GetCreated().GetNanos()),
			cmp.Compare(a.GetProject(), b.GetProject()),
			// web-9 comes before web-10.
			cmp.Compare(len(a.GetName()), len(b.GetName())),
			cmp.Compare(a.GetName(), b.GetName()),
		)
	})
	return waiting
}

// place decides on one placement and takes the room for it. Room only gets
// less during a call: what found none once does not look again for the next one
// of its kind.
func (s *site) place(p *skerryv1.Placement) (*skerryv1.Node, *skerryv1.Decision) {
	of := kindOf(p)
	if decision := s.refused[of]; decision != nil {
		return nil, decision
	}
	node, decision := s.find(p)
	if node == nil && !state.IsStay(p.GetSpec()) {
		s.refused[of] = decision
	}
	return node, decision
}

// find a node for one placement.
func (s *site) find(p *skerryv1.Placement) (*skerryv1.Node, *skerryv1.Decision) {
	if reason := s.cannotBegin(p); reason != "" {
		return nil, &skerryv1.Decision{Index: s.Index, Summary: reason}
	}
	needs, err := state.NeedsOf(p.GetSpec())
	if err != nil {
		return nil, &skerryv1.Decision{Index: s.Index, Summary: "what it asks for makes no sense: " + err.Error()}
	}
	chain := newChain(s, p, needs)
	var fit []candidate
	var unfit []*skerryv1.Verdict
	for _, n := range s.nodes {
		if reasons := chain.check(n); len(reasons) > 0 {
			unfit = append(unfit, &skerryv1.Verdict{Node: n.GetName(), RuledOut: reasons})
		} else {
			fit = append(fit, s.rate(n, p, needs))
		}
	}
	if len(fit) == 0 {
		return nil, s.decide("no node fits: "+chain.explain(len(s.nodes)), nil, unfit)
	}
	ranked := s.rank(fit, p)
	best := ranked[0]
	decision := s.decide("", ranked, unfit)
	decision.Summary = best.summary(len(fit), len(s.nodes))
	s.take(best.node, p, needs)
	return best.node.Node, decision
}

// cannotBegin names what keeps a placement from any node at all.
func (s *site) cannotBegin(p *skerryv1.Placement) string {
	name := p.GetSpec().GetContainer().GetImage()
	if s.images[name] == nil {
		return "image " + name + " is not loaded: skerry image load FILE"
	}
	if !s.mayBind(p) {
		return "it stays on its node, and its predecessor may still run: it waits until that is gone"
	}
	return ""
}

func (s *site) decide(summary string, ranked []candidate, unfit []*skerryv1.Verdict) *skerryv1.Decision {
	d := &skerryv1.Decision{Index: s.Index, Summary: summary}
	for _, c := range ranked[:min(len(ranked), maxVerdicts)] {
		d.Verdicts = append(d.Verdicts, c.verdict())
	}
	d.Verdicts = append(d.Verdicts, unfit[:min(len(unfit), maxVerdicts-len(d.Verdicts))]...)
	d.Omitted = uint32(len(ranked) + len(unfit) - len(d.Verdicts))
	return d
}
