package dispatcher

import (
	"cmp"
	"slices"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxCopies of each image are kept, so that it outlives the node that it was
// loaded on.
const maxCopies = 3

// addKept adds the images of which the node keeps a copy.
func addKept(view *state.View, name string, orders *sitev1.Assignments) {
	images := view.Images()
	if len(images) == 0 {
		return
	}
	ready := slices.DeleteFunc(view.Nodes(), func(n *skerryv1.Node) bool {
		return n.GetState() != skerryv1.NodeState_NODE_STATE_READY
	})
	for _, image := range images {
		if !slices.Contains(keepers(image, ready), name) {
			continue
		}
		known := slices.IndexFunc(orders.GetImages(), func(s *sitev1.ImageSource) bool {
			return s.GetDigest() == image.GetDigest() && s.GetName() == image.GetName()
		})
		if known >= 0 {
			orders.Images[known].Keep = true
			continue
		}
		orders.Images = append(orders.Images, &sitev1.ImageSource{
			Name: image.GetName(), Digest: image.GetDigest(), Nodes: image.GetNodes(), Keep: true,
		})
	}
}

// keepers are the nodes that keep a copy: those that hold it first, then
// voters, which are spread over the zones already.
func keepers(image *skerryv1.Image, ready []*skerryv1.Node) []string {
	rank := func(n *skerryv1.Node) int {
		switch {
		case slices.Contains(image.GetNodes(), n.GetName()):
			return 0
		case n.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER:
			return 1
		default:
			return 2
		}
	}
	ranked := slices.SortedStableFunc(slices.Values(ready), func(a, b *skerryv1.Node) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.GetName(), b.GetName()))
	})
	var names []string
	for _, n := range ranked[:min(len(ranked), maxCopies)] {
		names = append(names, n.GetName())
	}
	return names
}
