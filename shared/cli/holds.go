package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

// held counts things of one kind on a node's disk, and what they take.
type held struct {
	what  string
	count int
	bytes int64
}

func (h *held) add(bytes int64) {
	h.count++
	h.bytes += bytes
}

func (h *held) String() string {
	if h.count == 0 {
		return ""
	}
	return plural(h.count, h.what) + " " + size(h.bytes)
}

// holds says what a node keeps on its disk for the site: images, volumes, and
// snapshots of disks, and root disks. here are its placements.
func (o *describeOptions) holds(ctx context.Context, c *client.Client, n *skerryv1.Node, here []*skerryv1.Placement) (string, error) {
	images, volumes, snapshots := &held{what: "image"}, &held{what: "volume"}, &held{what: "snapshot"}
	node, digests := n.GetName(), map[string]bool{}
	for _, kind := range []string{"Image", "Volume"} {
		answer, err := call(ctx, o.app, c.Resources().List, &skerryv1.ListRequest{Kind: kind, Stale: o.stale})
		if err != nil {
			return "", err
		}
		for _, resource := range answer.GetResources() {
			if i := resource.GetImage(); slices.Contains(i.GetNodes(), node) && !digests[i.GetDigest()] {
				digests[i.GetDigest()] = true // several names may mean the same
				images.add(i.GetSize())
			}
			if v := resource.GetVolume(); v.GetNode() == node && v.GetStatus().GetMade() {
				volumes.add(v.GetStatus().GetUsed())
				for _, s := range v.GetStatus().GetSnapshots() {
					snapshots.add(s.GetUsed())
				}
			}
		}
	}
	for _, p := range here {
		for _, s := range p.GetStatus().GetSnapshots() {
			snapshots.add(s.GetUsed())
		}
	}
	roots := &held{what: "root disk", count: int(n.GetRoom().GetRootDisks()), bytes: n.GetRoom().GetRootDiskBytes()}
	if room := n.GetRoom(); room != nil { // it holds what the site has forgotten, too
		images.count, images.bytes = int(room.GetImages()), room.GetImageBytes()
	}
	return sentence(", ", images.String(), volumes.String(), snapshots.String(), roots.String()), nil
}

// disk of a node, as far as it is known.
func disk(room *skerryv1.DiskRoom) string {
	if room.GetTotalBytes() == 0 {
		return ""
	}
	return size(room.GetFreeBytes()) + " free of " + size(room.GetTotalBytes())
}

// diskFree is disk, for a table.
func diskFree(room *skerryv1.DiskRoom) string {
	if room.GetTotalBytes() == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%d%%)", size(room.GetFreeBytes()), room.GetFreeBytes()*100/room.GetTotalBytes())
}

// removed are the images that a node removed last.
func (o *describeOptions) removed(last *skerryv1.ImagesRemoved) string {
	if last == nil {
		return ""
	}
	return fmt.Sprintf("%s ago: %s (%s)", o.since(last.GetAt().AsTime()), strings.Join(last.GetImages(), ", "), last.GetReason())
}
