package cli

import (
	"context"
	"slices"

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
// snapshots of disks. here are its placements.
func (o *describeOptions) holds(ctx context.Context, c *client.Client, node string, here []*skerryv1.Placement) (string, error) {
	images, volumes, snapshots := &held{what: "image"}, &held{what: "volume"}, &held{what: "snapshot"}
	digests := map[string]bool{}
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
	return sentence(", ", images.String(), volumes.String(), snapshots.String()), nil
}
