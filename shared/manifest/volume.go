package manifest

import (
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// LocalClass of volumes: a file on the disk of one node.
const LocalClass = "local"

// fillVolume forgets what the site sets, so that what it shows can be edited and
// applied.
func fillVolume(volume *skerryv1.Volume) {
	set(&volume.Kind, "Volume")
	set(&volume.Project, "default")
	set(&volume.Class, LocalClass)
	volume.Status = nil
}

func (v *validator) volume(volume *skerryv1.Volume) {
	switch class := volume.GetClass(); class {
	case LocalClass:
	case "nfs", "hostPath":
		v.fail("class", "%s is not available in this version", class).Hint = "class: local keeps it on the disk of one node"
	default:
		v.oneOf("class", class, LocalClass)
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
