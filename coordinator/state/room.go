package state

import (
	"strings"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxSurplus images of a node are judged at once.
	maxSurplus = 16
	// maxRemoved images are named of one round.
	maxRemoved = 16
)

// boundedDigests are those of what a node says that can be images.
func boundedDigests(given []string) []string {
	var digests []string
	for _, digest := range given[:min(len(given), maxSurplus)] {
		if digestForm.MatchString(digest) {
			digests = append(digests, digest)
		}
	}
	return digests
}

// boundedRoom of a node. A new agent knows nothing of what the one before removed.
func boundedRoom(given, old *skerryv1.DiskRoom) *skerryv1.DiskRoom {
	if given == nil {
		return old
	}
	room := proto.CloneOf(given)
	if room.GetRemoved() == nil {
		room.Removed = old.GetRemoved()
	}
	if removed := room.GetRemoved(); removed != nil {
		removed.Images = removed.GetImages()[:min(len(removed.GetImages()), maxRemoved)]
		for i, name := range removed.GetImages() {
			removed.Images[i] = bounded(name, maxImageName)
		}
		removed.Reason = bounded(removed.GetReason(), maxMessage)
	}
	return room
}

// tellRemoved says what a node has removed since it was heard last.
func (x *tx) tellRemoved(old, node *skerryv1.Node) {
	removed := node.GetRoom().GetRemoved()
	if len(removed.GetImages()) == 0 || proto.Equal(removed, old.GetRoom().GetRemoved()) {
		return
	}
	x.inform(aboutNode(node.GetName()), "ImagesRemoved", "%s: %s", bounded(strings.Join(removed.GetImages(), ", "), maxMessage/2), removed.GetReason())
}
