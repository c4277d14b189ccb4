package state

import (
	"fmt"
	"slices"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// counted is what an entry needs to know of all placements of one workload, so
// that a plan of thousands counts them once.
type counted struct {
	// room is how many more the workload may get; -1 when it is not known. Of
	// these so many may have the newest template, and so many the stable one.
	room, ahead, behind int
	// beside is how many more of the newest template may get a node; -1 when it is
	// not known.
	beside int
	// for these nodes there is one already; nil when it is not known.
	nodes map[string]bool
	// stays: some that have a node must not run twice. nil when it is not known.
	stays *bool
}

func (x *tx) countedOf(k string) *counted {
	if x.counted == nil {
		x.counted = map[string]*counted{}
	}
	if x.counted[k] == nil {
		x.counted[k] = &counted{room: -1, beside: -1}
	}
	return x.counted[k]
}

// takeRoom for one more placement. Within a plan nothing but creations follows
// on the first one.
func (x *tx) takeRoom(k string, w *skerryv1.Workload, stable bool) bool {
	c := x.countedOf(k)
	if c.room < 0 {
		all, rollout := placements.by(x.rows, byWorkload, k), x.rollout(k)
		c.room, c.behind = Room(w, rollout, all), rollout.Behind(w, all)
		c.ahead = rollout.Ahead(w, all, IsHealthy)
		for _, p := range all {
			if Counts(p) && p.GetGeneration() == w.GetGeneration() {
				c.ahead--
			}
		}
	}
	side := &c.ahead
	if stable {
		side = &c.behind
	}
	if c.room == 0 || *side <= 0 {
		return false
	}
	c.room--
	*side--
	return true
}

// mayBind holds back what stays while its predecessor may still run, and what is
// more than may be beside what it updates. What may move needs no count, unless
// something that stays is there.
func (x *tx) mayBind(p *skerryv1.Placement) bool {
	k := key(p.GetProject(), p.GetWorkload())
	w := workloads.get(x.rows, k).GetWorkload()
	if p.GetGeneration() == w.GetGeneration() && x.freeBeside(k, w) == 0 {
		return false
	}
	if !MustNotRunTwice(w, p) {
		c := x.countedOf(k)
		if c.stays == nil {
			stays := slices.ContainsFunc(placements.by(x.rows, byWorkload, k), func(other *skerryv1.Placement) bool {
				return other.GetNode() != "" && MustNotRunTwice(w, other)
			})
			c.stays = &stays
		}
		if !*c.stays {
			return true
		}
	}
	return FreeToBind(w, p, placements.by(x.rows, byWorkload, k)) > 0
}

// freeBeside is how many more placements of the newest template may get a node.
func (x *tx) freeBeside(k string, w *skerryv1.Workload) int {
	c := x.countedOf(k)
	if c.beside < 0 {
		c.beside = x.rollout(k).FreeBeside(w, placements.by(x.rows, byWorkload, k))
	}
	return c.beside
}

// tookNode counts a placement that mayBind let through.
func (x *tx) tookNode(p *skerryv1.Placement) {
	k := key(p.GetProject(), p.GetWorkload())
	if c := x.counted[k]; c != nil && c.beside > 0 && p.GetGeneration() == workloads.get(x.rows, k).GetWorkload().GetGeneration() {
		c.beside--
	}
}

// takeRoomFor a placement, by the form of its workload.
func (x *tx) takeRoomFor(k string, w *skerryv1.Workload, part *sitev1.NewPlacement) bool {
	switch {
	case w.GetPerNode():
		return x.takeNode(k, w, part.GetNode())
	case manifest.IsJob(w):
		return part.GetNode() == "" && x.takeAttempt(k, w, part.GetRun())
	default:
		return part.GetNode() == "" && part.GetRun() == 0 && x.takeRoom(k, w, part.GetStable())
	}
}

// takeNode for the placement of a workload with one on each.
func (x *tx) takeNode(k string, w *skerryv1.Workload, node string) bool {
	c := x.countedOf(k)
	if c.nodes == nil {
		c.nodes = map[string]bool{}
		for _, p := range placements.by(x.rows, byWorkload, k) {
			c.nodes[isFor(p)] = true
		}
	}
	if c.nodes[node] || !Hosts(nodes.get(x.rows, node), w) {
		return false
	}
	c.nodes[node] = true
	return true
}

func countedRun(k string, run uint64) string { return fmt.Sprint(k, "\x00", run) }

// takeAttempt of a run.
func (x *tx) takeAttempt(k string, w *skerryv1.Workload, run uint64) bool {
	c := x.countedOf(countedRun(k, run))
	if c.room < 0 {
		c.room = RoomInRun(w, activeRun(w, run), placements.by(x.rows, byWorkload, k))
	}
	if c.room == 0 {
		return false
	}
	c.room--
	return true
}

// RoomInRun is how many more attempts a run may get now, given all placements
// that carry the workload's name.
func RoomInRun(w *skerryv1.Workload, run *skerryv1.Run, all []*skerryv1.Placement) int {
	room := manifest.WantedOf(w, run)
	for _, p := range all {
		if p.GetRun() == run.GetNumber() && (Counts(p) || (p.GetNode() != "" && p.GetEnded() == nil && MustNotRunTwice(w, p))) {
			room--
		}
	}
	return max(0, room)
}
