package state

import (
	"fmt"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// VolumesLeftOn a node are those of which it has an old copy, sorted.
func (v *View) VolumesLeftOn(node string) []*skerryv1.Volume {
	return volumes.by(v.rows, volumesByLeft, node)
}

// whyVolumesStay says why the volumes of a virtual machine cannot go with it; empty
// when they can, or it has none.
func whyVolumesStay(p *skerryv1.Placement, find func(project, name string) *skerryv1.Volume) string {
	for _, disk := range p.GetSpec().GetVm().GetDisks() {
		v := find(p.GetProject(), disk.GetVolume())
		switch status := v.GetStatus(); {
		case v != nil && v.GetNode() == p.GetNode() && !status.GetMade():
			return fmt.Sprintf("its volume %s is not made yet", disk.GetVolume())
		case v == nil || v.GetNode() != p.GetNode() || status.GetDeleting():
			return fmt.Sprintf("its volume %s is not on node %s", disk.GetVolume(), p.GetNode())
		case len(status.GetSnapshots()) > 0:
			return fmt.Sprintf("snapshots of its volume %s are on node %s", disk.GetVolume(), p.GetNode())
		case status.GetLeftOn() != "":
			return fmt.Sprintf("node %s has yet to delete an old copy of its volume %s", status.GetLeftOn(), disk.GetVolume())
		case disk.GetReadOnly():
			return fmt.Sprintf("its volume %s is read-only", disk.GetVolume())
		}
	}
	return ""
}

// volumesSetOut: a virtual machine begins to move, its volumes with it.
func (x *tx) volumesSetOut(p *skerryv1.Placement, to string) {
	for _, old := range x.volumesOf(p) {
		next := volumeCopy(old)
		next.Status.ComingTo = to
		x.putVolume(next)
	}
}

// volumesFollow: a virtual machine runs on its node, so what was on its way there
// is there. The old copy goes when its node is told to delete it.
func (x *tx) volumesFollow(p *skerryv1.Placement) {
	for _, old := range x.volumesOf(p) {
		if p.GetNode() == "" || old.GetStatus().GetComingTo() != p.GetNode() {
			continue
		}
		next := volumeCopy(old)
		next.Node, next.Status.ComingTo = p.GetNode(), ""
		if left := nodes.get(x.rows, old.GetNode()); left != nil && left.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
			next.Status.LeftOn = old.GetNode()
		}
		x.putVolume(next)
		x.inform(aboutVolume(next), "VolumeMoved", "from %s to %s, with %s", old.GetNode(), next.GetNode(), p.GetName())
	}
}

// volumesStay: they are where they were, and will not come to where they were on
// their way.
func (x *tx) volumesStay(p *skerryv1.Placement) {
	for _, old := range x.volumesOf(p) {
		if old.GetStatus().GetComingTo() == "" {
			continue
		}
		next := volumeCopy(old)
		next.Status.ComingTo = ""
		x.putVolume(next)
	}
}

// volumesOf a virtual machine that are there.
func (x *tx) volumesOf(p *skerryv1.Placement) []*skerryv1.Volume {
	if p.GetSpec().GetVm() == nil {
		return nil
	}
	var all []*skerryv1.Volume
	for _, use := range manifest.VolumesOf(p.GetSpec()) {
		if v := x.volume(p.GetProject(), use.Volume); v != nil {
			all = append(all, v)
		}
	}
	return all
}

// forgetCopy: nothing is left of a volume where it was before.
func (x *tx) forgetCopy(old *skerryv1.Volume) {
	next := volumeCopy(old)
	next.Status.LeftOn = ""
	x.putVolume(next)
	x.inform(aboutVolume(next), "VolumeCopyDeleted", "node %s has nothing of it left", old.GetStatus().GetLeftOn())
}

// forgetCopies on a node that is no part of the site any more.
func (x *tx) forgetCopies(node string) {
	for _, old := range volumes.by(x.rows, volumesByLeft, node) {
		x.forgetCopy(old)
	}
}
