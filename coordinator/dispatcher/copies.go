package dispatcher

import (
	"cmp"
	"hash/fnv"
	"slices"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxCopies of each image are kept, so that it outlives the node that it was
	// loaded on.
	maxCopies = 3
	// maxSources of an image are told to a node. On a large site thousands hold
	// it, and each new one would change the orders of all others.
	maxSources = 16
)

// addKept adds the images of which the node keeps a copy.
func (s *survey) addKept(name string, orders *sitev1.Assignments) {
	for _, image := range s.kept[name] {
		known := slices.IndexFunc(orders.GetImages(), func(s *sitev1.ImageSource) bool {
			return s.GetDigest() == image.GetDigest() && s.GetName() == image.GetName()
		})
		if known >= 0 {
			orders.Images[known].Keep = true
			continue
		}
		orders.Images = append(orders.Images, &sitev1.ImageSource{
			Name: image.GetName(), Digest: image.GetDigest(), Nodes: s.sources[image], Keep: true,
		})
	}
}

// keepers are the nodes that keep a copy: voters, which are spread over the zones
// already, those that hold it first; where there are too few voters, others. That
// one of those says that it holds the image does not matter: nobody gets a right to
// an image by saying so.
func keepers(image *skerryv1.Image, ready []*skerryv1.Node) []string {
	rank := func(n *skerryv1.Node) int {
		_, holds := slices.BinarySearch(image.GetNodes(), n.GetName())
		switch votes := n.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER; {
		case votes && holds:
			return 0
		case votes:
			return 1
		default:
			return 2
		}
	}
	var ranked [3][]string // by rank, each of them sorted as the nodes are
	for _, n := range ready {
		if r := rank(n); len(ranked[r]) < maxCopies {
			ranked[r] = append(ranked[r], n.GetName())
		}
	}
	names := slices.Concat(ranked[:]...)
	return names[:min(len(names), maxCopies)]
}

// sourcesOf an image are nodes to fetch it from: all that hold it or, if those
// are many, some of them that are ready. Which ones hangs on their names alone,
// so that it stays the same while more come to hold it.
func sourcesOf(image *skerryv1.Image, ready map[string]bool) []string {
	if len(image.GetNodes()) <= maxSources {
		return image.GetNodes()
	}
	type holder struct {
		name  string
		ready bool
		hash  uint64
	}
	holders := make([]holder, 0, len(image.GetNodes()))
	for _, name := range image.GetNodes() {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name)) // never fails
		holders = append(holders, holder{name: name, ready: ready[name], hash: h.Sum64()})
	}
	slices.SortFunc(holders, func(a, b holder) int {
		if a.ready != b.ready {
			if a.ready {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.name, b.name))
	})
	names := make([]string, 0, maxSources)
	for _, h := range holders[:maxSources] {
		names = append(names, h.name)
	}
	slices.Sort(names)
	return names
}
