package scheduler

import (
	"cmp"
	"slices"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	// maxRounds of looking at everything that moves may have made worth moving.
	maxRounds = 32
	// worthwhile is by how much less (or more, when the site packs) a node must be
	// loaded to move something for that alone: less would go to and fro.
	worthwhile = whole / 5
)

// Misplaced is a placement that would go elsewhere if it were placed now.
type Misplaced struct {
	Placement *skerryv1.Placement
	// To is the node on which it would go; empty when it is not to be moved.
	To string
	// Broken: it is where it must not be.
	Broken bool
	// Why it would go elsewhere, and what keeps it where it is; one sentence.
	Why string

	rank int
}

// Drift finds the placements with replicas that would go elsewhere, as far as
// that is worth a move: what is where it must not be first, then what is not
// spread as asked for, then what has more of its wishes met elsewhere, then what
// would be on a node with a fifth less load. Once all of them have moved it finds
// none. stays tells why a placement is not to be moved; held are those of them
// that are where they must not be.
func Drift(in Input, stays func(*skerryv1.Placement) string) (moves, held []Misplaced) {
	if in.Policy == (state.Policy{}) {
		in.Policy = state.DefaultPolicy()
	}
	d := &drift{Input: in, stays: stays, moved: map[*skerryv1.Placement]*Misplaced{}}
	for range maxRounds {
		if !d.round() {
			break
		}
	}
	for _, m := range d.moved {
		moves = append(moves, *m)
	}
	slices.SortFunc(moves, compareMisplaced)
	slices.SortFunc(d.held, compareMisplaced)
	return moves, d.held
}

func compareMisplaced(a, b Misplaced) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), byPriority(a.Placement.GetSpec(), b.Placement.GetSpec()),
		cmp.Compare(a.Placement.GetProject(), b.Placement.GetProject()),
		cmp.Compare(len(a.Placement.GetName()), len(b.Placement.GetName())),
		cmp.Compare(a.Placement.GetName(), b.Placement.GetName()))
}

func byPriority(a, b *skerryv1.Workload) int { return cmp.Compare(b.GetPriority(), a.GetPriority()) }

// drift is what was found so far.
type drift struct {
	Input
	stays func(*skerryv1.Placement) string
	moved map[*skerryv1.Placement]*Misplaced
	held  []Misplaced
}

// round looks at all placements once, with those moved that were found before;
// false when it found nothing more.
func (d *drift) round() bool {
	in, was := d.Input, map[*skerryv1.Placement]*skerryv1.Placement{}
	in.Placements = make([]*skerryv1.Placement, 0, len(d.Placements))
	for _, p := range d.Placements {
		now := p
		if m := d.moved[p]; m != nil {
			now = elsewhere(p, m.To)
			was[now] = p
		}
		in.Placements = append(in.Placements, now)
	}
	models := modelsOf(in)
	s := newSite(in, models)
	d.held = nil
	found := false
	for _, model := range models {
		c := s.classes[kindOf(model)]
		c.free = len(in.Placements) + 1 // nobody waits for a predecessor
		if s.cannotBegin(c) != "" {
			continue
		}
		for _, now := range s.present(c) {
			p := cmp.Or(was[now], now)
			found = d.reconsider(s, c, p, now) || found
		}
	}
	return found
}

// elsewhere is a placement as its successor would be.
func elsewhere(p *skerryv1.Placement, node string) *skerryv1.Placement {
	return &skerryv1.Placement{
		Project: p.GetProject(), Name: p.GetName(), Workload: p.GetWorkload(), Node: node, Spec: p.GetSpec(),
		Generation: p.GetGeneration(), Desired: p.GetDesired(), Created: p.GetCreated(), Status: p.GetStatus(),
	}
}

// modelsOf are placements as they would be made now, one of each workload that
// has some of them, the most important first.
func modelsOf(in Input) []*skerryv1.Placement {
	has := map[name]bool{}
	for _, p := range in.Placements {
		if p.GetNode() != "" {
			has[name{p.GetProject(), p.GetWorkload()}] = true
		}
	}
	var models []*skerryv1.Placement
	for _, w := range in.Workloads {
		if has[name{w.GetProject(), w.GetName()}] && isReplicas(w) {
			models = append(models, &skerryv1.Placement{
				Project: w.GetProject(), Workload: w.GetName(), Generation: w.GetGeneration(), Spec: w,
				Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
			})
		}
	}
	slices.SortStableFunc(models, func(a, b *skerryv1.Placement) int {
		return cmp.Or(byPriority(a.GetSpec(), b.GetSpec()), cmp.Compare(a.GetProject(), b.GetProject()), cmp.Compare(a.GetWorkload(), b.GetWorkload()))
	})
	return models
}

func isReplicas(w *skerryv1.Workload) bool { return !w.GetPerNode() && !manifest.IsJob(w) }

// present placements of a class that have a node and count, the oldest name
// first.
func (s *site) present(c *class) []*skerryv1.Placement {
	var here []*skerryv1.Placement
	for _, p := range c.workload.all {
		if n := s.byName[p.GetNode()]; n != nil && state.Counts(p) && p.GetLostSince() == nil {
			here = append(here, p)
		}
	}
	slices.SortFunc(here, func(a, b *skerryv1.Placement) int {
		return cmp.Or(cmp.Compare(len(a.GetName()), len(b.GetName())), cmp.Compare(a.GetName(), b.GetName()))
	})
	return here
}

// reconsider one placement; true when it moves.
func (d *drift) reconsider(s *site, c *class, p, now *skerryv1.Placement) bool {
	from := s.byName[now.GetNode()]
	broken := s.broken(c, from)
	if why := d.stays(p); why != "" {
		if broken != "" {
			d.held = append(d.held, Misplaced{Placement: p, Broken: true, Why: broken + "; " + why})
		}
		return false
	}
	pool := s.poolOf(c, c.shape)
	to, rank, why := pool.better(from, broken)
	if to == nil || s.leavesAlone(c, from, to) {
		if broken != "" && d.moved[p] == nil {
			d.held = append(d.held, Misplaced{Placement: p, Broken: true, Why: broken + "; no other node fits"})
		}
		return false
	}
	s.shift(c, pool, now, from, to)
	switch before := d.moved[p]; {
	case before == nil:
		d.moved[p] = &Misplaced{Placement: p, To: to.GetName(), Broken: broken != "", Why: why, rank: rank}
	case to.GetName() == p.GetNode():
		delete(d.moved, p)
	default:
		before.To, before.rank = to.GetName(), min(rank, before.rank)
	}
	return true
}

// shift moves a placement for the rest of the round.
func (s *site) shift(c *class, in *pool, p *skerryv1.Placement, from, to *node) {
	if needs, err := s.meter.needs(p.GetSpec()); err == nil {
		from.usage.Remove(p.GetName(), needs)
	}
	to.add(p.GetName(), c.needs)
	w := c.workload
	w.here[to.index]++
	if w.here[from.index]--; w.here[from.index] == 0 {
		delete(w.here, from.index)
	}
	for _, t := range w.tallies {
		t.remove(from)
		t.add(to, true)
	}
	s.changes = append(s.changes, from.index, to.index)
	if len(w.tallies) > 0 {
		s.pools, s.ages = map[string]*pool{}, nil // others may see all nodes differently
		return
	}
	if at, known := in.values[in.valueOf(from)]; known {
		in.crowd(at, -1)
	}
	in.crowd(in.members[in.at[to.index]].domain, 1)
}
