package manifest

import (
	"strconv"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Classes of volumes.
const (
	// LocalClass is made on the disk of one node.
	LocalClass = "local"
	// HostPathClass is a directory that is on a node already.
	HostPathClass = "hostPath"
)

// What a volume is.
const (
	// DiskVolume is a file that a virtual machine has as a disk.
	DiskVolume = "disk"
	// DirectoryVolume is mounted into a container.
	DirectoryVolume = "directory"
)

// VolumeUse is a volume that a workload names.
type VolumeUse struct {
	// Field of the manifest.
	Field  string
	Volume string
	// Size with which it is made when there is none; empty: it must be there.
	Size string
	// As is what it must be.
	As string
}

// VolumesOf a workload, in the order of the manifest.
func VolumesOf(w *skerryv1.Workload) []VolumeUse {
	var all []VolumeUse
	for i, disk := range w.GetVm().GetDisks() {
		all = append(all, VolumeUse{"vm.disks[" + strconv.Itoa(i) + "]", disk.GetVolume(), disk.GetSize(), DiskVolume})
	}
	for i, mount := range w.GetContainer().GetMounts() {
		if mount.GetVolume() != "" {
			all = append(all, VolumeUse{"container.mounts[" + strconv.Itoa(i) + "]", mount.GetVolume(), mount.GetSize(), DirectoryVolume})
		}
	}
	return all
}

// fillVolume forgets what the site sets, so that what it shows can be edited and
// applied.
func fillVolume(volume *skerryv1.Volume) {
	set(&volume.Kind, "Volume")
	set(&volume.Project, "default")
	set(&volume.Class, LocalClass)
	volume.Status = nil
}

func (v *validator) volume(volume *skerryv1.Volume) {
	switch class := volume.GetClass(); {
	case class == "nfs":
		v.fail("class", "nfs is not available in this version").Hint = "mount it on the node, and use class: hostPath"
	default:
		v.oneOf("class", class, LocalClass, HostPathClass)
	}
	if volume.GetAs() != "" {
		v.oneOf("as", volume.GetAs(), DiskVolume, DirectoryVolume)
	}
	if volume.GetClass() == HostPathClass {
		v.hostPathVolume(volume)
		return
	}
	if volume.GetPath() != "" {
		v.fail("path", "only class: hostPath takes it").Hint = "leave it out: its node makes one of class local"
	}
	if volume.GetSize() == "" {
		v.fail("size", "it is missing")
	} else {
		v.volumeSize("size", volume.GetSize())
	}
	if volume.GetNode() != "" {
		v.name("node", volume.GetNode())
	}
}

func (v *validator) hostPathVolume(volume *skerryv1.Volume) {
	v.name("node", volume.GetNode())
	if !cleanAbsolute(volume.GetPath()) {
		v.fail("path", "%q is not a clean absolute path", shorten(volume.GetPath()))
	}
	if volume.GetAs() == DiskVolume {
		v.fail("as", "a directory of a node is no disk").Hint = "leave it out"
	}
	if volume.GetSize() != "" {
		v.fail("size", "nobody knows that of a directory of a node").Hint = "leave it out"
	}
}

// mountedVolumes of a container.
func (v *validator) mountedVolumes(w *skerryv1.Workload) {
	if w.GetContainer() == nil {
		return
	}
	taken := map[string]bool{}
	for _, use := range VolumesOf(w) {
		v.name(use.Field+".volume", use.Volume)
		if taken[use.Volume] {
			v.fail(use.Field+".volume", "%q is given twice", shorten(use.Volume))
		}
		taken[use.Volume] = true
		if use.Size != "" {
			v.volumeSize(use.Field+".size", use.Size)
		}
	}
	switch mode := w.GetPartition().GetMode(); {
	case len(taken) == 0:
	case w.GetReplicas() > 1 || w.GetPerNode() || IsJob(w):
		v.fail("container.mounts", "a volume is used by one placement at a time").Hint = "replicas: 1, without perNode and runToCompletion"
	case mode == Replicate || mode == Exclusive:
		v.fail("partition.mode", "its volumes are on one node: it stays there").Hint = "leave it out: stay never runs one twice either"
	}
}
