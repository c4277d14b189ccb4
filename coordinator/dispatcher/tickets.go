package dispatcher

import (
	"sync"

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
			image.Tickets = append(image.Tickets, s.tickets.of(key, node.GetKeyFingerprint(), image.GetDigest()))
		}
	}
}

// mostTickets are remembered.
const mostTickets = 1 << 14

// tickets that were made: a node's orders are made anew for every change of what it
// runs, and a MAC costs more than all else in them.
type tickets struct {
	mu   sync.Mutex
	made map[ticketOf][]byte
}

type ticketOf struct{ key, node, image string }

// of a node for an image at the source with this key. It must not be changed.
func (t *tickets) of(key, node []byte, image string) []byte {
	what := ticketOf{string(key), string(node), image}
	t.mu.Lock()
	defer t.mu.Unlock()
	made, known := t.made[what]
	if !known {
		if t.made == nil || len(t.made) == mostTickets {
			t.made = map[ticketOf][]byte{}
		}
		made = ticket.For(key, node, image)
		t.made[what] = made
	}
	return made
}
