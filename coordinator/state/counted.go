package state

import (
	"slices"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// counted is what an entry needs to know of all placements of one workload, so
// that a plan of thousands counts them once.
type counted struct {
	// room is how many more the workload may get; -1 when it is not known.
	room int
	// stays: some that have a node must not run twice. nil when it is not known.
	stays *bool
}

func (x *tx) countedOf(k string) *counted {
	if x.counted == nil {
		x.counted = map[string]*counted{}
	}
	if x.counted[k] == nil {
		x.counted[k] = &counted{room: -1}
	}
	return x.counted[k]
}

// takeRoom for one more placement. Within a plan nothing but creations follows
// on the first one.
func (x *tx) takeRoom(k string, w *skerryv1.Workload) bool {
	c := x.countedOf(k)
	if c.room < 0 {
		c.room = Room(w, placements.by(x.Txn, byWorkload, k))
	}
	if c.room == 0 {
		return false
	}
	c.room--
	return true
}

// mayBind holds back what stays while its predecessor may still run. What may
// move needs no count, unless something that stays is there.
func (x *tx) mayBind(p *skerryv1.Placement) bool {
	k := key(p.GetProject(), p.GetWorkload())
	w := workloads.get(x.Txn, k).GetWorkload()
	if !mustNotRunTwice(w, p) {
		c := x.countedOf(k)
		if c.stays == nil {
			stays := slices.ContainsFunc(placements.by(x.Txn, byWorkload, k), func(other *skerryv1.Placement) bool {
				return other.GetNode() != "" && mustNotRunTwice(w, other)
			})
			c.stays = &stays
		}
		if !*c.stays {
			return true
		}
	}
	return FreeToBind(w, p, placements.by(x.Txn, byWorkload, k)) > 0
}
