package whatif

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/scheduler"
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// screen answers what the loss of some nodes would do by one call of the
// scheduler, where that is all that would happen: nothing is on its way anywhere
// else, and nothing has to give way. It is much faster than a world, and says so
// when it is not certain.
type screen struct {
	view  *state.View
	in    scheduler.Input
	voted []*skerryv1.Node
	// calm: nothing is on its way anywhere.
	calm bool
	// on are the placements of each node, by index in the input.
	on map[string][]int
	// rolling are workloads of which a lost placement may be replaced by one of
	// another template.
	rolling map[*skerryv1.Workload]bool
}

func newScreen(view *state.View) *screen {
	s := &screen{view: view, voted: view.Voters(), on: map[string][]int{}, rolling: map[*skerryv1.Workload]bool{}}
	s.in = scheduler.Input{
		Index: view.Index(), Policy: view.Policy(), Workloads: view.Workloads(), Nodes: view.Nodes(), Placements: view.Placements(), Images: view.Images(), Volumes: view.Volumes(),
	}
	r := view.Rebalance()
	s.calm = view.Stop() == nil && (r == nil || r.GetEnded() != nil)
	for _, n := range s.in.Nodes {
		s.calm = s.calm && n.GetDuty().GetDuty() != skerryv1.Duty_DUTY_DRAINING
	}
	for i, p := range s.in.Placements {
		if p.GetNode() != "" {
			s.on[p.GetNode()] = append(s.on[p.GetNode()], i)
		}
		s.calm = s.calm && rests(view.Node(p.GetNode()), p)
	}
	for _, w := range s.in.Workloads {
		rollout := view.Rollout(w.GetProject(), w.GetName())
		s.rolling[w] = !rollout.Done() && rollout.Goal() != nil
	}
	return s
}

// rests: nothing comes of a placement as things are.
func rests(node *skerryv1.Node, p *skerryv1.Placement) bool {
	if node.GetState() == skerryv1.NodeState_NODE_STATE_LOST {
		replaced := p.GetReplacedBy() != "" || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN
		return replaced || p.GetEnded() != nil || state.IsStay(p.GetSpec())
	}
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetReplacedBy() == ""
}

// lose some nodes; false when it takes the controllers to tell what would
// happen.
func (s *screen) lose(question *skerryv1.WhatIfRequest) (*skerryv1.WhatIfResponse, bool) {
	lost, err := losses(s.view, question)
	if err != nil {
		return nil, false
	}
	answer := s.quorum(lost)
	if !answer.GetQuorum() {
		return answer, true
	}
	if !s.calm {
		return nil, false
	}
	in, successors, ok := s.without(lost, answer)
	if !ok || len(successors) > scheduler.MaxDecisions/2 {
		return nil, false
	}
	if len(successors) == 0 {
		return answer, true
	}
	plan := scheduler.Schedule(in)
	if len(plan.Evict) > 0 || len(plan.Assign)+len(plan.Postpone) >= scheduler.MaxDecisions {
		return nil, false
	}
	placed := map[string]bool{}
	for _, a := range plan.Assign {
		placed[a.GetProject()+"/"+a.GetPlacement()] = true
	}
	why := map[string]string{}
	for _, p := range plan.Postpone {
		why[p.GetProject()+"/"+p.GetPlacement()] = p.GetDecision().GetSummary()
	}
	for _, p := range successors {
		if !placed[keyOf(p)] {
			answer.Stranded = append(answer.Stranded, stranded(p, why[keyOf(p)]))
			answer.Stranded[len(answer.Stranded)-1].Placement = ""
		}
	}
	return answer, true
}

// quorum that would be left.
func (s *screen) quorum(lost []string) *skerryv1.WhatIfResponse {
	answer := &skerryv1.WhatIfResponse{Settled: true, Voters: uint32(len(s.voted))}
	for _, voter := range s.voted {
		if voter.GetState() == skerryv1.NodeState_NODE_STATE_READY && !slices.Contains(lost, voter.GetName()) {
			answer.VotersLeft++
		}
	}
	answer.Quorum = 2*answer.GetVotersLeft() > answer.GetVoters()
	return answer
}

// without the lost nodes: the site as the scheduler would see it, with
// successors of what ran there. What stays there is in the answer.
func (s *screen) without(lost []string, answer *skerryv1.WhatIfResponse) (in scheduler.Input, successors []*skerryv1.Placement, ok bool) {
	in = s.in
	in.Placements = slices.Clone(s.in.Placements)
	now := timestamppb.New(s.view.Time().AsTime().Add(time.Second))
	for _, node := range lost {
		for _, i := range s.on[node] {
			p := s.in.Placements[i]
			w := s.view.Workload(p.GetProject(), p.GetWorkload())
			switch {
			case !state.Counts(p):
				continue
			case p.GetSpec().GetPerNode(): // others may be bound to where it runs
				in.Placements[i] = gone(p, now)
				continue
			case w == nil || manifest.IsJob(w) || s.rolling[w]:
				return in, nil, false
			case state.IsStay(w) != state.IsStay(p.GetSpec()):
				return in, nil, false
			case state.IsStay(w):
				answer.Stranded = append(answer.Stranded, stranded(p, whyLost(answer, p)))
				continue
			case len(successors) > 0 && replaceAfter(successors[0].GetSpec()) != replaceAfter(w):
				return in, nil, false // who comes first takes the room
			}
			in.Placements[i] = gone(p, now)
			successors = append(successors, &skerryv1.Placement{
				Project: p.GetProject(), Workload: p.GetWorkload(), Spec: w,
				Generation: w.GetGeneration(), Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Created: now,
			})
		}
	}
	slices.SortStableFunc(successors, func(a, b *skerryv1.Placement) int {
		return cmp.Or(cmp.Compare(a.GetProject(), b.GetProject()), cmp.Compare(a.GetWorkload(), b.GetWorkload()))
	})
	numbers := map[string]int{}
	for _, p := range successors {
		of := workloadOf(p)
		if numbers[of] == 0 {
			numbers[of] = s.lastNumber(p)
		}
		numbers[of]++
		p.Name = fmt.Sprintf("%s-%d", p.GetWorkload(), numbers[of])
	}
	in.Placements = append(in.Placements, successors...)
	in.Nodes = slices.Clone(s.in.Nodes)
	for i, n := range in.Nodes {
		if slices.Contains(lost, n.GetName()) {
			in.Nodes[i] = lostNode(n)
		}
	}
	return in, successors, true
}

func replaceAfter(w *skerryv1.Workload) string { return w.GetPartition().GetReplaceAfter() }

// lastNumber that a placement of the same workload has.
func (s *screen) lastNumber(such *skerryv1.Placement) int {
	last := 0
	for _, p := range s.view.PlacementsOf(such.GetProject(), such.GetWorkload()) {
		if n, err := strconv.Atoi(strings.TrimPrefix(p.GetName(), p.GetWorkload()+"-")); err == nil {
			last = max(last, n)
		}
	}
	return last
}

// gone is a placement on a node that is lost, of which another one has taken the
// place.
func gone(p *skerryv1.Placement, now *timestamppb.Timestamp) *skerryv1.Placement {
	without := &skerryv1.Placement{
		Project: p.GetProject(), Name: p.GetName(), Workload: p.GetWorkload(), Node: p.GetNode(), Spec: p.GetSpec(),
		Generation: p.GetGeneration(), Desired: p.GetDesired(), Created: p.GetCreated(), Status: p.GetStatus(),
		LostSince: now, ReplacedBy: "another",
	}
	if state.IsExclusive(p.GetSpec()) {
		without.Lapsed = now // its lease ends, and then it is replaced
	}
	return without
}

// lostNode as the scheduler sees it.
func lostNode(n *skerryv1.Node) *skerryv1.Node {
	return &skerryv1.Node{
		Name: n.GetName(), Zone: n.GetZone(), Labels: n.GetLabels(), Version: n.GetVersion(), Capacity: n.GetCapacity(),
		Conditions: n.GetConditions(), State: skerryv1.NodeState_NODE_STATE_LOST, Address: n.GetAddress(), GossipAddress: n.GetGossipAddress(),
	}
}
