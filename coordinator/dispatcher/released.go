package dispatcher

import (
	"slices"
	"sync"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// named are the digests of all images that something of the site names. It costs a
// look at every placement, so it is kept until something changes that counts.
type named struct {
	mu      sync.Mutex
	at      uint64
	digests map[string]bool
}

func (n *named) of(view *state.View) map[string]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.digests != nil && n.at == view.PlacingIndex() {
		return n.digests
	}
	n.at, n.digests = view.PlacingIndex(), map[string]bool{}
	name := func(w *skerryv1.Workload) {
		if image := view.Image(manifest.ImageOf(w)); image != nil {
			n.digests[image.GetDigest()] = true
		}
	}
	for _, w := range view.Workloads() {
		name(w)
	}
	for _, p := range view.Placements() {
		n.digests[p.GetImageDigest()] = true
		name(p.GetSpec())
	}
	return n.digests
}

// addReleased adds those of the images that the node would remove which nothing of
// the site names, of which it is to keep no copy, and whose keepers all have one.
func (s *survey) addReleased(view *state.View, node *skerryv1.Node, orders *sitev1.Assignments) {
	if len(node.GetSurplusImages()) == 0 || node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
		return
	}
	needed := s.named.of(view)
	for _, digest := range node.GetSurplusImages() {
		here := slices.ContainsFunc(orders.GetImages(), func(i *sitev1.ImageSource) bool { return i.GetDigest() == digest })
		if !here && !needed[digest] && s.isKept(view, digest) {
			orders.ReleasedImages = append(orders.ReleasedImages, digest)
		}
	}
}

// isKept tells whether each image of the site with this content has all its copies,
// on nodes that keep theirs. What the site does not know needs none.
func (s *survey) isKept(view *state.View, digest string) bool {
	for _, image := range view.Images() {
		if image.GetDigest() != digest {
			continue
		}
		keepers := keepers(image, s.ready)
		if len(keepers) == 0 {
			return false
		}
		for _, name := range keepers {
			if _, holds := slices.BinarySearch(image.GetNodes(), name); !holds || slices.Contains(view.Node(name).GetSurplusImages(), digest) {
				return false
			}
		}
	}
	return true
}
