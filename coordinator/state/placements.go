package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const maxPlacements = 20_000

// Indexes of placements.
const (
	byWorkload = "workload"
	byNode     = "node"
)

var placements = table[*skerryv1.Placement]{
	name: "placements",
	key:  func(p *skerryv1.Placement) string { return key(p.GetProject(), p.GetName()) },
	indexes: map[string]func(*skerryv1.Placement) string{
		byWorkload: func(p *skerryv1.Placement) string { return key(p.GetProject(), p.GetWorkload()) },
		byNode:     (*skerryv1.Placement).GetNode,
	},
	ordinal: placementsOrdinal,
}

func aboutPlacement(p *skerryv1.Placement) subject {
	return subject{kind: "Placement", project: p.GetProject(), name: p.GetName(), node: p.GetNode()}
}

func (x *tx) putPlacement(p *skerryv1.Placement) {
	p.ResourceVersion = x.index
	placements.put(x, p)
}

// stop asks the placement's node to stop it; one without a node is forgotten.
func (x *tx) stop(old *skerryv1.Placement) {
	if old.GetNode() == "" {
		placements.remove(x, placements.key(old))
		return
	}
	if old.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP {
		return
	}
	p := shallow(old)
	p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
	x.putPlacement(p)
}

func (x *tx) deletePlacement(project, name string, version uint64) (*sitev1.Outcome, error) {
	p := placements.get(x.Txn, key(project, name))
	if p == nil {
		return nil, missing("Placement", name)
	}
	if err := checkVersion("Placement/"+name, version, p.GetResourceVersion()); err != nil {
		return nil, err
	}
	x.stop(p)
	x.inform(aboutPlacement(p), "PlacementDeleted", "it is stopped; its workload gets another one")
	return &sitev1.Outcome{}, nil
}

// Counts tells whether a placement counts towards its workload's replicas:
// those on their way out and those that were replaced do not.
func Counts(p *skerryv1.Placement) bool {
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetReplacedBy() == ""
}

// Room is how many placements the workload may get now, given all that carry
// its name. Of one that stays, what may still run anywhere counts as well: it
// must never run more often than it was asked for.
func Room(w *skerryv1.Workload, all []*skerryv1.Placement) int {
	room := int(w.GetReplicas())
	for _, p := range all {
		if Counts(p) || IsStay(w) || IsStay(p.GetSpec()) {
			room--
		}
	}
	return max(0, room)
}
