package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	"skerry.dev/coordinator/whatif"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// moveTime is how long a rebalance may take.
const moveTime = 40 * time.Second

// byThemselves are the workloads of which two must not run at once.
func byThemselves(workload string) bool { return workload == phoenix || workload == lone }

// rebalance what would be placed elsewhere now; at the end somebody may stop it.
func (in *injector) rebalance(rng *rand.Rand) func() {
	w := in.world
	moves, _ := whatif.Drift(w.newest, func(*skerryv1.Workload) bool { return true })
	if len(moves) == 0 || w.newest.Stop() != nil {
		return nil
	}
	id := fmt.Sprintf("rebalance-%d", w.kernel.now)
	in.active++
	w.ask(id, &sitev1.Entry{Change: &sitev1.Entry_StartRebalance{StartRebalance: &sitev1.StartRebalance{
		Moves: moves, Deadline: timestamppb.New(w.newest.Time().AsTime().Add(moveTime)),
	}}}, func(*sitev1.Outcome) { in.active-- })
	if rng.IntN(2) == 0 {
		return nil
	}
	return func() {
		in.active++
		w.ask(id+"-stop", &sitev1.Entry{Change: &sitev1.Entry_StopRebalance{StopRebalance: &sitev1.StopRebalance{}}}, func(*sitev1.Outcome) { in.active-- })
	}
}

// stray: a rebalance gets moves that nobody asked for.
func (w *world) stray(change *sitev1.StartRebalance) {
	for _, p := range w.newest.Placements() {
		if p.GetWorkload() == web || p.GetWorkload() == "api" {
			for _, h := range w.hosts {
				if h.name != p.GetNode() {
					change.Moves = append(change.Moves, &skerryv1.RebalanceMove{Project: project, Placement: p.GetName(), To: h.name})
					break
				}
			}
		}
	}
}

// hurry: all that ends first ends at once, and what does not does too.
func (w *world) hurry(plan *sitev1.Plan) {
	for _, m := range w.newest.Rebalance().GetMoves() {
		if m.GetState() == skerryv1.RebalanceState_REBALANCE_STATE_UNSPECIFIED && w.newest.Rebalance().GetEnded() == nil {
			plan.Remove = append(plan.Remove, &sitev1.Removal{Project: m.GetProject(), Placement: m.GetPlacement(), Reason: "planted", Drain: true})
		}
	}
}

// knowMoves that somebody asked for, in the order of the log.
func (w *world) knowMoves(asked *sitev1.StartRebalance) {
	if asked == nil {
		return
	}
	w.moves = map[string]bool{}
	for _, m := range asked.GetMoves() {
		w.moves[m.GetPlacement()] = true
	}
}

// judgeMoves: what runs on a node in service moves only if somebody asked for it.
func (w *world) judgeMoves(plan *sitev1.Plan, before, after *state.View) {
	ends := map[string]bool{}
	for _, part := range plan.GetRemove() {
		ends[part.GetPlacement()] = part.GetDrain()
	}
	for _, p := range before.Placements() {
		now := after.Placement(p.GetProject(), p.GetName())
		begins, ended := p.GetReplacedBy() == "" && now.GetReplacedBy() != "", ends[p.GetName()] && endedBy(p, after)
		if !begins && !ended || !state.Counts(p) && !ended || p.GetLostSince() != nil || stays(p.GetWorkload()) || state.Leaves(before.Node(p.GetNode())) {
			continue
		}
		w.violate(check.Moved(check.Move{
			Placement: p.GetName(), From: p.GetNode(), Asked: w.moves[p.GetName()], Ends: ended && state.IsHealthy(p),
			ByItself: byThemselves(p.GetWorkload()), Proven: w.proven[now.GetReplacedBy()], Base: plan.GetBaseIndex(),
		}))
	}
	var begun, alone []string
	if r := after.Rebalance(); r.GetEnded() == nil {
		for _, m := range r.GetMoves() {
			if m.GetState() == skerryv1.RebalanceState_REBALANCE_STATE_MOVING {
				begun = append(begun, m.GetPlacement())
				if byThemselves(m.GetWorkload()) {
					alone = append(alone, m.GetPlacement())
				}
			}
		}
	}
	w.violate(check.UnderWay(begun, alone))
}

// prove which placements are healthy as of this state.
func (w *world) prove(view *state.View) {
	for _, p := range view.Placements() {
		if state.IsHealthy(p) {
			w.proven[p.GetName()] = view.Index()
		}
	}
}

// sameTemplate of two placements.
func sameTemplate(a, b *skerryv1.Placement) bool {
	return proto.Equal(a.GetSpec().GetContainer(), b.GetSpec().GetContainer())
}
