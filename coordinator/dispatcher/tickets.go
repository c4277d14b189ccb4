package dispatcher

import (
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/ticket"
)

// sourceKeys are what a node judges by who may fetch images from it.
func sourceKeys(view *state.View, node *skerryv1.Node) [][]byte {
	var keys [][]byte
	for _, site := range view.ImageKeys() {
		keys = append(keys, ticket.SourceKey(site, node.GetKeyFingerprint()))
	}
	return keys
}

// addTickets for the images that a node needs: those of its placements and those
// that the site has it keep. What a node says that it holds gives it no right.
func (s *survey) addTickets(view *state.View, node *skerryv1.Node, orders *sitev1.Assignments) {
	site := view.TicketKey()
	if site == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return
	}
	for _, image := range orders.GetImages() {
		for _, source := range image.GetNodes() {
			key, known := s.ticketKeys[source]
			if !known { // it came after the survey
				key = ticket.SourceKey(site, view.Node(source).GetKeyFingerprint())
			}
			image.Tickets = append(image.Tickets, ticket.For(key, node.GetKeyFingerprint(), image.GetDigest()))
		}
	}
}
