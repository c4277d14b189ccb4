package dispatcher

import (
	"crypto/sha256"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/ticket"
)

// survey is what the orders of single nodes need of the site as a whole. It costs
// a look at every node, so it is made once for all of them.
type survey struct {
	issuers map[[sha256.Size]byte]string
	// kept are the images that each node keeps, sources where each is to be had.
	kept    map[string][]*skerryv1.Image
	sources map[*skerryv1.Image][]string
	// ticketKeys are what tickets for each source are made with.
	ticketKeys map[string][]byte
	tickets    *tickets
	// calls is the node that keeps its SVID (state.View.Calls).
	calls string
	// ready nodes, sorted.
	ready []*skerryv1.Node
	named named
}

// surveyOf a view, after another one; nil for the first.
func surveyOf(view *state.View, before *survey) *survey {
	s := &survey{
		issuers: view.Issuers(), kept: map[string][]*skerryv1.Image{}, sources: map[*skerryv1.Image][]string{},
		ticketKeys: map[string][]byte{}, tickets: &tickets{}, calls: view.Calls(),
	}
	if before != nil {
		s.tickets = before.tickets
	}
	images := view.Images()
	if len(images) == 0 {
		return s
	}
	isReady := map[string]bool{}
	for _, n := range view.Nodes() {
		if n.GetState() == skerryv1.NodeState_NODE_STATE_READY {
			s.ready = append(s.ready, n)
			isReady[n.GetName()] = true
		}
	}
	for _, image := range images {
		s.sources[image] = sourcesOf(image, isReady)
		for _, name := range keepers(image, s.ready) {
			s.kept[name] = append(s.kept[name], image)
		}
		for _, name := range s.sources[image] {
			if site := view.TicketKey(); site != nil && s.ticketKeys[name] == nil {
				s.ticketKeys[name] = ticket.SourceKey(site, view.Node(name).GetKeyFingerprint())
			}
		}
	}
	return s
}

// mustRenew is state.View.MustRenew, without a look at every node for each.
func (s *survey) mustRenew(node *skerryv1.Node) bool {
	issuer := node.GetSvidIssuer()
	if len(issuer) != sha256.Size || node.GetName() == s.calls {
		return false
	}
	_, current := s.issuers[[sha256.Size]byte(issuer)]
	return !current
}

// source of the image of a placement.
func (s *survey) source(view *state.View, placement *skerryv1.Placement, digest string) *sitev1.ImageSource {
	source := &sitev1.ImageSource{Name: manifest.ImageOf(placement.GetSpec()), Digest: digest}
	if image := view.ImageByDigest(digest); image != nil {
		source.Nodes = s.sources[image]
		if source.Nodes == nil { // it is newer than the survey
			source.Nodes = sourcesOf(image, nil)
		}
	}
	return source
}
