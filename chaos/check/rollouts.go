package check

import (
	"slices"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Rollouts follows how new templates reach the placements of workloads, entry by
// entry.
type Rollouts struct {
	seen map[string]*rollout
	// placements that were ever made, and that ever got a node.
	placements, placed map[string]bool
}

// rollout of one workload, as it was after the entry before.
type rollout struct {
	revision uint64
	// current ones count and have the newest template; bound those that have a node.
	current, bound, serving int
	paused                  bool
}

// NewRollouts returns a watcher that has seen nothing.
func NewRollouts() *Rollouts {
	return &Rollouts{seen: map[string]*rollout{}, placements: map[string]bool{}, placed: map[string]bool{}}
}

// Update is a workload as the state has it after an entry.
type Update struct {
	Name string
	// Workload is nil when there is none.
	Workload *skerryv1.Workload
	// Revisions that are remembered, oldest first.
	Revisions  []*skerryv1.Revision
	Placements []*skerryv1.Placement
	// Serves tells to which of them others are sent.
	Serves func(*skerryv1.Placement) bool
}

func (u Update) newest() *skerryv1.Revision {
	if len(u.Revisions) == 0 {
		return nil
	}
	return u.Revisions[len(u.Revisions)-1]
}

// stable is the last good revision before the newest; nil for none.
func (u Update) stable() *skerryv1.Revision {
	for i := len(u.Revisions) - 2; i >= 0; i-- {
		if u.Revisions[i].GetState() == skerryv1.RevisionState_REVISION_STATE_GOOD {
			return u.Revisions[i]
		}
	}
	return nil
}

// atStake: there is a good template, and it is another one than the newest.
func (u Update) atStake() bool {
	return u.stable() != nil && !proto.Equal(u.stable().GetTemplate(), u.newest().GetTemplate())
}

func isOf(p *skerryv1.Placement, r *skerryv1.Revision) bool {
	return r != nil && r.GetGeneration() <= p.GetGeneration() && p.GetGeneration() <= r.GetLastGeneration()
}

// counts: it is there to stay.
func counts(p *skerryv1.Placement) bool {
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetReplacedBy() == "" && p.GetEnded() == nil
}

// Steered tells that somebody steered a rollout with success, with what there was
// before. It comes before Observe of the same entry.
func (r *Rollouts) Steered(action skerryv1.SteerAction, before, after Update) *Violation {
	is := r.seen[after.Name]
	if is == nil {
		return nil
	}
	switch action {
	case skerryv1.SteerAction_STEER_ACTION_PAUSE:
		is.paused = true
	case skerryv1.SteerAction_STEER_ACTION_RESUME, skerryv1.SteerAction_STEER_ACTION_PROMOTE:
		is.paused = false
	case skerryv1.SteerAction_STEER_ACTION_ABORT, skerryv1.SteerAction_STEER_ACTION_ROLL_BACK:
		if good := before.stable(); !proto.Equal(after.newest().GetTemplate(), good.GetTemplate()) {
			return violated(OldTemplate, "%s goes on with generation %d, and was to go back to %d", after.Name,
				after.newest().GetGeneration(), good.GetGeneration())
		}
	}
	return nil
}

// Observe a workload after an entry. asked is the update as people want it; ours:
// the entry is none that nodes, or whoever has no choice, have brought about.
func (r *Rollouts) Observe(asked *skerryv1.Update, u Update, ours bool) *Violation {
	if u.Workload == nil {
		for _, p := range u.Placements {
			r.placements[p.GetName()] = true
		}
		delete(r.seen, u.Name)
		return nil
	}
	was := r.seen[u.Name]
	if was == nil {
		was = &rollout{}
	}
	is := &rollout{revision: u.newest().GetGeneration()}
	r.seen[u.Name] = is
	same := was.revision == is.revision
	is.paused = was.paused && same && u.newest().GetState() != skerryv1.RevisionState_REVISION_STATE_GOOD
	begun, placed := 0, 0
	for _, p := range u.Placements {
		if isOf(p, u.newest()) && counts(p) {
			is.current++
			if p.GetNode() != "" {
				is.bound++
			}
			if p.GetNode() != "" && !r.placed[p.GetName()] {
				placed++
			}
		}
		if p.GetNode() != "" {
			r.placed[p.GetName()] = true
		}
		if !r.placements[p.GetName()] {
			r.placements[p.GetName()] = true
			if isOf(p, u.newest()) {
				begun++
			}
			if !isOf(p, u.newest()) && !isOf(p, u.stable()) {
				return violated(OldTemplate, "%s is made of generation %d, which is neither the newest, %d, nor the good one, %d", p.GetName(),
					p.GetGeneration(), u.newest().GetGeneration(), u.stable().GetGeneration())
			}
		}
	}
	if is.paused && !u.followsNewest() && u.atStake() && begun > 0 && is.current > was.current {
		return violated(Paused, "%s is paused at generation %d, and has %d placements of it instead of %d", u.Name, is.revision, is.current, was.current)
	}
	if share := int(max(1, asked.GetCanary())); asked.GetStrategy() == manifest.Canary && u.tries() && is.bound > share && placed > 0 {
		return violated(Share, "%d placements of %s have generation %d, which is not promoted, and its share is %d", is.bound, u.Name, is.revision, share)
	}
	if asked.GetStrategy() == manifest.BlueGreen {
		return u.colors(was, is, ours)
	}
	return nil
}

// followsNewest: what is missing is made of the newest template, whatever becomes of
// its rollout: what stays does, and what is recreated when nothing of another one is
// left.
func (u Update) followsNewest() bool {
	if u.Workload.GetPartition().GetMode() == manifest.Stay {
		return true
	}
	return u.Workload.GetUpdate().GetStrategy() == manifest.Recreate && !slices.ContainsFunc(u.Placements, func(p *skerryv1.Placement) bool {
		return counts(p) && !isOf(p, u.newest())
	})
}

// tries: the newest template is beside the good one, to prove itself.
func (u Update) tries() bool {
	return u.atStake() && u.newest().GetState() != skerryv1.RevisionState_REVISION_STATE_GOOD && !u.newest().GetPromoted()
}

// colors: others are sent to one template alone, and to one as long as it is up
// to us.
func (u Update) colors(was, is *rollout, ours bool) *Violation {
	var serving *skerryv1.Placement
	for _, p := range u.Placements {
		if !u.Serves(p) {
			continue
		}
		is.serving++
		if serving != nil && !proto.Equal(serving.GetSpec().GetContainer(), p.GetSpec().GetContainer()) {
			return violated(OneColor, "both %s of generation %d and %s of generation %d serve", serving.GetName(), serving.GetGeneration(),
				p.GetName(), p.GetGeneration())
		}
		serving = p
	}
	if ours && was.serving > 0 && is.serving == 0 && manifest.Wanted(u.Workload) > 0 {
		return violated(OneColor, "%d placements of %s served, and now none does", was.serving, u.Name)
	}
	return nil
}
