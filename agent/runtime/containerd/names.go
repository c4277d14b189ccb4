package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// Labels of containerd's records.
const (
	labelInstance  = "skerry.dev/instance"
	labelSpec      = "skerry.dev/spec"
	labelProject   = "skerry.dev/project"
	labelPlacement = "skerry.dev/placement"
	labelWorkload  = "skerry.dev/workload"
	labelAddress   = "skerry.dev/address"
	// labelNetwork is the kind of network, of an instance.
	labelNetwork = "skerry.dev/network"
	// labelSecrets says that an instance has secrets.
	labelSecrets = "skerry.dev/secrets"
	// labelVolumes are those that an instance mounts, by their names, with commas.
	labelVolumes = "skerry.dev/volumes"
	// labelDigest is that of the image, of an instance.
	labelDigest = "skerry.dev/digest"
	// labelStarted is when the run began; absent when it never did.
	labelStarted = "skerry.dev/started"
	// labelExit is how the run ended, once that was seen: a task's record does
	// not outlive the machine's power.
	labelExit = "skerry.dev/exit"
	// labelImage is the site's name of an image.
	labelImage = "skerry.dev/image"
	// labelChain is the chain of layers that a snapshot holds; labelSynced says
	// that it is wholly on disk.
	labelChain  = "skerry.dev/chain"
	labelSynced = "skerry.dev/synced"
)

var (
	// containerPattern is what containerd takes, at most 76 characters.
	containerPattern = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)
	imagePattern     = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9._:/@+]{0,254}$`)
)

const maxContainerID = 76

// containerID is what the instance is called in containerd, in the network and
// in the cgroups: its own ID, or a hash when containerd would refuse that.
func containerID(id string) string {
	if len(id) <= maxContainerID && containerPattern.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "skerry-" + hex.EncodeToString(sum[:16])
}
