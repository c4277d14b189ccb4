package state

import (
	"slices"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const maxPlacements = 100_000

// Indexes of placements.
const (
	byWorkload = "workload"
	byNode     = "node"
	byOther    = "other"
)

var placements = table[*skerryv1.Placement]{
	name: "placements",
	key:  func(p *skerryv1.Placement) string { return key(p.GetProject(), p.GetName()) },
	indexes: map[string]func(*skerryv1.Placement) string{
		byWorkload: func(p *skerryv1.Placement) string { return key(p.GetProject(), p.GetWorkload()) },
		byNode:     (*skerryv1.Placement).GetNode,
		byOther:    otherOf,
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
	p := placements.get(x.rows, key(project, name))
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
// those on their way out, those that were replaced and those that have done
// their work do not.
func Counts(p *skerryv1.Placement) bool {
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetReplacedBy() == "" && p.GetEnded() == nil
}

// mayStart tells whether a placement runs, or may yet start again as its workload
// was.
func mayStart(p *skerryv1.Placement) bool {
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetEnded() == nil
}

// Room is how many more placements the workload may get now, given all that
// carry its name and how far its update is. Of one that stays, whatever may still run anywhere counts as
// well: it must never run more often than it was asked for.
func Room(w *skerryv1.Workload, rollout Rollout, all []*skerryv1.Placement) int {
	room := manifest.Wanted(w) + rollout.Surge(w, all)
	for _, p := range all {
		if Counts(p) || (p.GetNode() != "" && p.GetEnded() == nil && MustNotRunTwice(w, p)) {
			room--
		}
	}
	return max(0, room)
}

// FreeToBind is how many more placements of the workload, such as this one, may
// get a node now, given all that carry its name. One that stays waits until its
// predecessor is gone; so does one that may move, as long as one that stays is
// still there.
func FreeToBind(w *skerryv1.Workload, such *skerryv1.Placement, all []*skerryv1.Placement) int {
	free, waits := manifest.Wanted(w), MustNotRunTwice(w, such)
	if w.GetPerNode() {
		free = 1 // on the node that it is for
	}
	for _, p := range all {
		if p.GetNode() == "" || p.GetEnded() != nil || (w.GetPerNode() && p.GetNode() != pinOf(such)) {
			continue
		}
		stays := MustNotRunTwice(w, p)
		waits = waits || stays
		if stays || Counts(p) {
			free--
		}
	}
	if !waits {
		return max(manifest.Wanted(w), maxReplicas)
	}
	return max(0, free)
}

// MustNotRunTwice: as long as this one may still run anywhere, nothing else may
// in its place.
func MustNotRunTwice(w *skerryv1.Workload, p *skerryv1.Placement) bool {
	if p.GetLapsed() != nil {
		return false
	}
	return StaysPut(w, p) || IsExclusive(w) || IsExclusive(p.GetSpec())
}

// StaysPut: it runs where it is, or nowhere.
func StaysPut(w *skerryv1.Workload, p *skerryv1.Placement) bool {
	return IsStay(w) || IsStay(p.GetSpec())
}

// pinned is the workload as a placement on one certain node gets it: what
// stays keeps its node through updates, because its data is there.
func pinned(w *skerryv1.Workload, node string) *skerryv1.Workload {
	if node == "" {
		return w
	}
	place := &skerryv1.Place{}
	if w.GetPlace() != nil {
		place = shallow(w.GetPlace())
	}
	place.Require = append(slices.Clone(w.GetPlace().GetRequire()), &skerryv1.Requirement{Label: pinLabel, In: []string{node}})
	spec := shallow(w)
	spec.Place = place
	return spec
}

// pinLabel is the node's name.
const pinLabel = "name"

// pinOf a pending placement that stays is the node that pinned gave it.
func pinOf(p *skerryv1.Placement) string {
	if p.GetNode() != "" {
		return ""
	}
	return PinnedTo(p.GetSpec())
}

// PinnedTo is the one node on which something that stays may run; empty when
// there is no such node.
func PinnedTo(w *skerryv1.Workload) string {
	require := w.GetPlace().GetRequire()
	if !IsStay(w) || len(require) == 0 {
		return ""
	}
	if last := require[len(require)-1]; last.GetLabel() == pinLabel && len(last.GetIn()) == 1 {
		return last.GetIn()[0]
	}
	return ""
}
