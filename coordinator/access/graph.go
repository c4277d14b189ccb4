package access

import (
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/manifest"
)

// Bound tells whether an object is a node's own: itself, a placement that is
// bound to it, the workload and the image of one. Nodes are judged by this
// alone; everything else is none of theirs.
func Bound(view *state.View, node string, object access.Object) bool {
	if object.Kind == "Node" {
		return object.Name == node
	}
	for _, p := range append(view.PlacementsOn(node), view.PlacementsComingTo(node)...) {
		switch {
		case object.Kind == "Image" && manifest.ImageOf(p.GetSpec()) == object.Name:
			return true
		case p.GetProject() != object.Project:
		case object.Kind == "Placement" && p.GetName() == object.Name:
			return true
		case object.Kind == "Workload" && p.GetWorkload() == object.Name:
			return true
		}
	}
	return false
}
