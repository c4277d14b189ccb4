package state

import (
	"cmp"
	"maps"
	"path"
	"slices"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// maxVolumes of the site; maxHeld of one node are taken in.
const (
	maxVolumes     = 10_000
	maxHeldVolumes = 4096
)

const (
	volumesByNode = "node"
	// volumesByLeft finds those of which a node has an old copy.
	volumesByLeft = "left"
)

var volumes = table[*skerryv1.Volume]{
	name: "volumes",
	key:  func(v *skerryv1.Volume) string { return key(v.GetProject(), v.GetName()) },
	indexes: map[string]func(*skerryv1.Volume) string{
		volumesByNode: (*skerryv1.Volume).GetNode,
		volumesByLeft: func(v *skerryv1.Volume) string { return v.GetStatus().GetLeftOn() },
	},
	ordinal: volumesOrdinal,
}

func aboutVolume(v *skerryv1.Volume) subject {
	return subject{kind: "Volume", project: v.GetProject(), name: v.GetName(), node: v.GetNode()}
}

func (x *tx) volume(project, name string) *skerryv1.Volume {
	return volumes.get(x.rows, key(project, name))
}

func (x *tx) putVolume(v *skerryv1.Volume) {
	v.ResourceVersion = x.index
	volumes.put(x, v)
}

// applyVolume makes a volume, lets it grow, or changes its labels. Its node is
// chosen once.
func (x *tx) applyVolume(given *skerryv1.Volume) (*skerryv1.AppliedResource, error) {
	old := x.volume(given.GetProject(), given.GetName())
	if err := x.checkVolume(given, old); err != nil {
		return nil, err
	}
	if given.GetClass() == manifest.HostPathClass {
		given.As = manifest.DirectoryVolume
	}
	if old == nil {
		next := &skerryv1.Volume{
			Kind: "Volume", Name: given.GetName(), Project: given.GetProject(), Labels: given.GetLabels(), Generation: 1, Created: x.time,
			Class: given.GetClass(), Size: given.GetSize(), Node: given.GetNode(), As: given.GetAs(), Path: given.GetPath(), Status: &skerryv1.VolumeStatus{},
		}
		x.putVolume(next)
		x.inform(aboutVolume(next), "VolumeCreated", "%s", cmp.Or(next.GetSize(), next.GetPath()))
		return appliedVolume(next, outcomeCreated), nil
	}
	next := shallow(old)
	next.Labels, next.Size, next.As = given.GetLabels(), given.GetSize(), cmp.Or(given.GetAs(), old.GetAs())
	if given.GetNode() != "" {
		next.Node = given.GetNode()
	}
	specChanged := next.GetSize() != old.GetSize() || next.GetNode() != old.GetNode() || next.GetAs() != old.GetAs()
	if !specChanged && maps.Equal(next.GetLabels(), old.GetLabels()) {
		return appliedVolume(old, outcomeUnchanged), nil
	}
	if specChanged {
		next.Generation++
		x.inform(aboutVolume(next), "VolumeChanged", "%s", next.GetSize())
	}
	x.putVolume(next)
	return appliedVolume(next, outcomeConfigured), nil
}

func appliedVolume(v *skerryv1.Volume, outcome string) *skerryv1.AppliedResource {
	return &skerryv1.AppliedResource{Resource: &skerryv1.Resource{Kind: &skerryv1.Resource_Volume{Volume: v}}, Outcome: outcome}
}

func (x *tx) checkVolume(given, old *skerryv1.Volume) error {
	about := "Volume/" + bounded(given.GetName(), maxName)
	if given.GetKind() != "Volume" || (given.GetClass() != manifest.LocalClass && given.GetClass() != manifest.HostPathClass) {
		return problem.New(problem.Invalid, about, "it must be of kind Volume and class local or hostPath")
	}
	if err := checkName("Volume", given.GetName()); err != nil {
		return err
	}
	if err := checkName("Project", given.GetProject()); err != nil {
		return err
	}
	if err := checkLabels(about, given.GetLabels()); err != nil {
		return err
	}
	if err := x.needsProject(given.GetProject()); err != nil {
		return err
	}
	if as := given.GetAs(); as != "" && as != manifest.DiskVolume && as != manifest.DirectoryVolume {
		return problem.New(problem.Invalid, about, "%q is neither disk nor directory", bounded(as, maxName)).WithField("as")
	}
	size, err := sizeOfVolume(about, given)
	if err != nil {
		return err
	}
	if node := nodes.get(x.rows, given.GetNode()); given.GetNode() != "" && (node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED) {
		return problem.New(problem.NotFound, about, "there is no node %s", bounded(given.GetNode(), maxName)).WithField("node")
	}
	if err := checkVersion(about, given.GetResourceVersion(), old.GetResourceVersion()); err != nil {
		return err
	}
	if old == nil {
		if x.counts[volumesOrdinal] == maxVolumes {
			return exhausted("volumes", maxVolumes)
		}
		return nil
	}
	return x.checkVolumeChange(about, size, given, old)
}

// sizeOfVolume checks what of a volume hangs on its class; one that is a directory
// of its node has none.
func sizeOfVolume(about string, v *skerryv1.Volume) (int64, error) {
	size, err := manifest.Memory(v.GetSize())
	switch {
	case v.GetClass() == manifest.LocalClass && (err != nil || size < 1 || size > manifest.MaxVolumeBytes):
		return 0, problem.New(problem.Invalid, about, "%q is no size of a volume", bounded(v.GetSize(), maxName)).WithField("size")
	case v.GetClass() == manifest.LocalClass && v.GetPath() != "":
		return 0, problem.New(problem.Invalid, about, "only a directory of a node has a path").WithField("path")
	case v.GetClass() == manifest.LocalClass:
		return size, nil
	case v.GetSize() != "" || v.GetNode() == "" || !path.IsAbs(v.GetPath()) || path.Clean(v.GetPath()) != v.GetPath() || len(v.GetPath()) > maxPath:
		return 0, problem.New(problem.Invalid, about, "a directory of a node has a node and a clean absolute path, and no size").WithField("path")
	case v.GetAs() == manifest.DiskVolume:
		return 0, problem.New(problem.Invalid, about, "a directory of a node is no disk").WithField("as")
	}
	return 0, nil
}

func (x *tx) checkVolumeChange(about string, size int64, given, old *skerryv1.Volume) error {
	before, err := sizeOfVolume(about, old)
	must(err) // it was checked when it was taken
	user := x.userOfVolume(old.GetProject(), old.GetName())
	switch {
	case old.GetStatus().GetDeleting():
		return problem.New(problem.Conflict, about, "it is being deleted with its data")
	case given.GetClass() != old.GetClass() || given.GetPath() != old.GetPath():
		return problem.New(problem.Conflict, about, "its class is %s, its path %q, and they stay so", old.GetClass(), old.GetPath()).WithField("class")
	case given.GetNode() != "" && old.GetNode() != "" && given.GetNode() != old.GetNode():
		return problem.New(problem.Conflict, about, "it is on node %s", old.GetNode()).WithField("node").
			WithHint("it goes elsewhere only with its virtual machine: skerry vm migrate; then change node, or leave it out")
	case given.GetAs() != "" && old.GetAs() != "" && given.GetAs() != old.GetAs():
		return problem.New(problem.Conflict, about, "it is a %s, and stays one", old.GetAs()).WithField("as")
	case given.GetAs() != old.GetAs() && given.GetAs() != "" && user != "":
		return problem.New(problem.Conflict, about, "%s uses it", user).WithField("as").WithHint("leave it out: its first use tells")
	case size < before:
		return problem.New(problem.Invalid, about, "it has %s, and never shrinks", old.GetSize()).WithField("size")
	case size > before && user != "":
		return problem.New(problem.Conflict, about, "%s uses it; it grows while nothing does", user).
			WithField("size").WithHint("set its workload's replicas to 0, let it grow, and start it again")
	}
	return nil
}

// userOfVolume is a workload that names a volume, or a placement that may still run
// with it; empty when there is none.
func (x *tx) userOfVolume(project, name string) string {
	for _, record := range workloads.list(x.rows) {
		if w := record.GetWorkload(); w.GetProject() == project && w.GetReplicas() > 0 && NamesVolume(w, name) {
			return "workload " + w.GetName()
		}
	}
	for _, p := range placements.list(x.rows) {
		if p.GetProject() == project && p.GetEnded() == nil && NamesVolume(p.GetSpec(), name) {
			return "placement " + p.GetName()
		}
	}
	return ""
}

// NamesVolume tells whether a workload has a volume.
func NamesVolume(w *skerryv1.Workload, name string) bool {
	return slices.ContainsFunc(manifest.VolumesOf(w), func(use manifest.VolumeUse) bool { return use.Volume == name })
}

// settleVolumes makes what a workload names and is not there yet, and refuses what
// another one has, or what is something else.
func (x *tx) settleVolumes(w *skerryv1.Workload) error {
	about := "Workload/" + w.GetName()
	for _, use := range manifest.VolumesOf(w) {
		refused := func(kind problem.Kind, format string, args ...any) *problem.Error {
			return problem.New(kind, about, format, args...).WithField(use.Field + ".volume")
		}
		if w.GetContainer() != nil && (w.GetReplicas() > 1 || w.GetPerNode() || w.GetRunToCompletion() != nil || !IsStay(w)) {
			return refused(problem.Invalid, "a volume is used by one placement at a time, which stays on its node")
		}
		if other := x.otherOwner(w, use.Volume); other != "" {
			return refused(problem.Conflict, "volume %s is that of workload %s", bounded(use.Volume, maxName), other)
		}
		present := x.volume(w.GetProject(), use.Volume)
		switch {
		case present.GetStatus().GetDeleting():
			return refused(problem.Conflict, "volume %s is being deleted", use.Volume)
		case present != nil && present.GetAs() != "" && present.GetAs() != use.As:
			return refused(problem.Conflict, "volume %s is a %s, and a %s is needed", use.Volume, present.GetAs(), use.As)
		case present != nil:
		case use.Size == "":
			return refused(problem.Invalid, "there is no volume %s in project %s", bounded(use.Volume, maxName), w.GetProject()).
				WithHint("make it with a manifest of kind Volume, or give its size here")
		default:
			made := &skerryv1.Volume{Kind: "Volume", Name: use.Volume, Project: w.GetProject(), Class: manifest.LocalClass, Size: use.Size, As: use.As}
			if _, err := x.applyVolume(made); err != nil {
				return err
			}
		}
	}
	return x.staysWithVolumes(about, w)
}

// staysWithVolumes refuses volumes that are not where a container is and stays.
func (x *tx) staysWithVolumes(about string, w *skerryv1.Workload) error {
	if w.GetContainer() == nil || len(manifest.VolumesOf(w)) == 0 {
		return nil // virtual machines: see fitsInPlace
	}
	for _, p := range placements.by(x.rows, byWorkload, key(w.GetProject(), w.GetName())) {
		if p.GetNode() == "" || !IsStay(p.GetSpec()) || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue
		}
		if why := x.whyNoVolume(p.GetNode(), w); why != "" {
			return problem.New(problem.Conflict, about, "%s stays on node %s, and there: %s", p.GetName(), p.GetNode(), why).
				WithField("container.mounts").WithHint("skerry get volumes shows what is where; delete the placement, and it goes to its volume")
		}
	}
	return nil
}

// otherOwner of a volume is a workload that names it, and is not this one; empty:
// there is none.
func (x *tx) otherOwner(w *skerryv1.Workload, volume string) string {
	for _, record := range workloads.list(x.rows) {
		other := record.GetWorkload()
		if other.GetProject() == w.GetProject() && other.GetName() != w.GetName() && NamesVolume(other, volume) {
			return other.GetName()
		}
	}
	return ""
}

// whyNoVolume says why a node cannot have the volumes of a workload; empty when it
// can.
func (x *tx) whyNoVolume(node string, w *skerryv1.Workload) string {
	return WhyNoVolume(node, w, func(name string) *skerryv1.Volume { return x.volume(w.GetProject(), name) })
}

// WhyNoVolume says why a node cannot have the volumes of a workload; empty when it
// can.
func WhyNoVolume(node string, w *skerryv1.Workload, find func(name string) *skerryv1.Volume) string {
	for _, use := range manifest.VolumesOf(w) {
		v := find(use.Volume)
		switch {
		case v == nil:
			return "there is no volume " + use.Volume
		case v.GetStatus().GetDeleting():
			return "volume " + v.GetName() + " is being deleted"
		case v.GetNode() != "" && v.GetNode() != node:
			return "volume " + v.GetName() + " is on node " + v.GetNode()
		case v.GetStatus().GetComingTo() != "":
			return "volume " + v.GetName() + " is on its way to node " + v.GetStatus().GetComingTo()
		}
	}
	return ""
}

// bindVolumes puts the volumes of a workload that are nowhere yet on the node of
// its placement, and makes them what it needs.
func (x *tx) bindVolumes(node string, w *skerryv1.Workload) {
	for _, use := range manifest.VolumesOf(w) {
		old := x.volume(w.GetProject(), use.Volume)
		if old == nil || (old.GetNode() != "" && old.GetAs() != "") {
			continue
		}
		next := shallow(old)
		next.Node, next.As = cmp.Or(old.GetNode(), node), cmp.Or(old.GetAs(), use.As)
		x.putVolume(next)
		if old.GetNode() == "" {
			x.inform(aboutVolume(next), "VolumeBound", "it is on node %s", node)
		}
	}
}

// holdsVolumes takes over of which volumes a node says that it holds data. It
// knows nothing of a volume that was just bound: that one is not made yet.
func (x *tx) holdsVolumes(node string, held []*sitev1.HeldVolume) {
	if len(held) > maxHeldVolumes {
		return
	}
	at := func(v *skerryv1.Volume) int {
		return slices.IndexFunc(held, func(h *sitev1.HeldVolume) bool { return h.GetProject() == v.GetProject() && h.GetName() == v.GetName() })
	}
	for _, old := range volumes.by(x.rows, volumesByLeft, node) {
		if at := at(old); at >= 0 && held[at].GetGone() {
			x.forgetCopy(old)
		}
	}
	for _, old := range volumes.by(x.rows, volumesByNode, node) {
		if old.GetClass() != manifest.LocalClass {
			continue
		}
		switch at := at(old); {
		case at < 0:
		case held[at].GetGone() && old.GetStatus().GetDeleting():
			volumes.remove(x, volumes.key(old))
			x.inform(aboutVolume(old), "VolumeDeleted", "with its data")
		case held[at].GetGone():
		default:
			next := volumeCopy(old)
			next.As = cmp.Or(old.GetAs(), heldAs(held[at]))
			status := next.GetStatus()
			status.Made, status.Used, status.Snapshots = true, max(0, held[at].GetUsed()), boundedSnapshots(held[at].GetSnapshots())
			if !proto.Equal(old.GetStatus(), status) || next.GetAs() != old.GetAs() {
				x.putVolume(next)
			}
		}
	}
}

// volumeCopy is a volume that is to be changed, and its status.
func volumeCopy(v *skerryv1.Volume) *skerryv1.Volume {
	next := shallow(v)
	next.Status = &skerryv1.VolumeStatus{}
	if v.GetStatus() != nil {
		next.Status = shallow(v.GetStatus())
	}
	return next
}

// heldAs is what a volume became that was filled before anything used it.
func heldAs(held *sitev1.HeldVolume) string {
	if held.GetAs() == manifest.DirectoryVolume {
		return manifest.DirectoryVolume
	}
	return manifest.DiskVolume
}

// deleteVolume forgets a volume. Its data goes only when that was said, and then
// when its node has deleted it.
func (x *tx) deleteVolume(change *sitev1.DeleteResource) (*sitev1.Outcome, error) {
	name := change.GetName()
	old := x.volume(change.GetProject(), name)
	if old == nil {
		return nil, missing("Volume", name)
	}
	about := "Volume/" + name
	if err := checkVersion(about, change.GetResourceVersion(), old.GetResourceVersion()); err != nil {
		return nil, err
	}
	if user := x.userOfVolume(old.GetProject(), name); user != "" {
		return nil, problem.New(problem.Conflict, about, "%s uses it", user).WithHint("change or delete the workload first")
	}
	if old.GetClass() == manifest.HostPathClass {
		if change.GetWithData() {
			return nil, problem.New(problem.Invalid, about, "%s on node %s is not the site's to delete", old.GetPath(), old.GetNode()).WithHint("leave --with-data out")
		}
		volumes.remove(x, volumes.key(old))
		x.inform(aboutVolume(old), "VolumeDeleted", "%s is left as it is", old.GetPath())
		return &sitev1.Outcome{}, nil
	}
	if left := old.GetStatus().GetLeftOn(); left != "" {
		return nil, problem.New(problem.Conflict, about, "node %s has yet to delete an old copy of it", left).
			WithHint("try again in a moment; if that node is gone for good: skerry node evict %s", left)
	}
	node := nodes.get(x.rows, old.GetNode())
	gone := old.GetNode() == "" || node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
	switch {
	case gone && old.GetNode() == "":
	case !change.GetWithData():
		return nil, problem.New(problem.Conflict, about, "there may be data of it on node %s", old.GetNode()).
			WithHint("skerry delete volume %s --with-data deletes the data too", name)
	case !gone:
		next := volumeCopy(old)
		next.Status.Deleting = true
		x.putVolume(next)
		x.inform(aboutVolume(next), "VolumeDeleting", "node %s deletes its data", old.GetNode())
		return &sitev1.Outcome{}, nil
	}
	volumes.remove(x, volumes.key(old))
	x.inform(aboutVolume(old), "VolumeDeleted", "%s", old.GetSize())
	return &sitev1.Outcome{}, nil
}

// Volume of a project, or nil.
func (v *View) Volume(project, name string) *skerryv1.Volume {
	return volumes.get(v.rows, key(project, name))
}

// Volumes of the site, sorted.
func (v *View) Volumes() []*skerryv1.Volume { return volumes.list(v.rows) }

// VolumesOn a node, sorted.
func (v *View) VolumesOn(node string) []*skerryv1.Volume {
	return volumes.by(v.rows, volumesByNode, node)
}
