package state

import (
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// PlacingIndex is the last index at which something changed that decides where
// placements can go: nodes, images, workloads, what is bound where. What a
// placement reports, or why it waits, is no such thing. It only saves work: a
// restored state takes all for new.
func (v *View) PlacingIndex() uint64 { return v.meta.placing }

// notePlacing takes in a change of one object, nil when there was or is none.
func (x *tx) notePlacing(ordinal int, before, after any) {
	if ordinal == nodesOrdinal {
		a, _ := before.(*skerryv1.Node)
		b, _ := after.(*skerryv1.Node)
		x.noteNode(a, b)
	}
	switch ordinal {
	case nodesOrdinal, imagesOrdinal, workloadsOrdinal, settingsOrdinal, volumesOrdinal:
		x.placing = x.index
	case placementsOrdinal:
		a, _ := before.(*skerryv1.Placement)
		b, _ := after.(*skerryv1.Placement)
		if a == nil || b == nil || a.GetNode() != b.GetNode() || a.GetDesired() != b.GetDesired() || a.GetSpec() != b.GetSpec() ||
			a.GetLostSince() != b.GetLostSince() || a.GetReplacedBy() != b.GetReplacedBy() || a.GetEnded() != b.GetEnded() {
			x.placing = x.index
		}
	}
}
