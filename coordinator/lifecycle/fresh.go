package lifecycle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/scheduler"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// mayBindAtOnce: a new placement may get its node in the entry that makes it, a
// round of the log earlier and at half the cost. What takes the place of another
// one, what is for one node, and what may have to wait for something takes two.
func (s *sheet) mayBindAtOnce(part *sitev1.NewPlacement) bool {
	return part.GetReplaces() == "" && part.GetNode() == "" && part.GetRun() == 0 && !part.GetStable() && len(s.fresh) < scheduler.MaxDecisions &&
		!state.IsStay(s.w) && !state.IsExclusive(s.w) && len(s.w.GetAfter()) == 0 && s.w.GetUpdate().GetStrategy() != manifest.Recreate
}

// unborn are the fresh placements as the scheduler sees them: the youngest.
func (p *planner) unborn() []*skerryv1.Placement {
	all := make([]*skerryv1.Placement, 0, len(p.fresh))
	created := timestamppb.New(p.view.Time().AsTime().Add(time.Second))
	var w *skerryv1.Workload
	for _, i := range p.fresh {
		part := p.plan.GetCreate()[i]
		if w.GetName() != part.GetWorkload() || w.GetProject() != part.GetProject() {
			w = p.view.Workload(part.GetProject(), part.GetWorkload())
		}
		all = append(all, &skerryv1.Placement{
			Name: unbornName(i), Project: part.GetProject(), Workload: part.GetWorkload(), Generation: part.GetGeneration(),
			Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Spec: w, Created: created,
		})
	}
	return all
}

// unbornName is how the scheduler knows a creation of the plan; no placement has
// such a name.
func unbornName(i int) string { return fmt.Sprintf("+%05d", i) }

// bornOf is the creation that a name is of; false when it is a placement's own.
func bornOf(name string) (int, bool) {
	number, unborn := strings.CutPrefix(name, "+")
	i, err := strconv.Atoi(number)
	return i, unborn && err == nil
}

// bindAtOnce moves what was found for fresh placements to where they are made.
// That there is no node for one, or what would have to make room, is decided once
// it is there.
func (p *planner) bindAtOnce(found scheduler.Plan) scheduler.Plan {
	if len(p.fresh) == 0 {
		return found
	}
	found.Assign = slices.DeleteFunc(found.Assign, func(a *sitev1.Assignment) bool {
		i, unborn := bornOf(a.GetPlacement())
		if unborn {
			part := p.plan.GetCreate()[i]
			part.Bind, part.Decision = a.GetNode(), a.GetDecision()
			if by, unborn := bornOf(a.GetDecision().GetExplainedBy()); unborn {
				part.ExplainedBy, part.Decision.ExplainedBy = uint32(by+1), ""
			}
		}
		return unborn
	})
	found.Postpone = slices.DeleteFunc(found.Postpone, func(part *sitev1.Postponement) bool {
		_, unborn := bornOf(part.GetPlacement())
		return unborn
	})
	found.Evict = slices.DeleteFunc(found.Evict, func(part *sitev1.Eviction) bool {
		_, unborn := bornOf(part.GetForPlacement())
		return unborn
	})
	return found
}
