package sim

import (
	"fmt"
	"time"

	"skerry.dev/coordinator/dispatcher"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// followedWithin is how long a node may take to the coordinator that it reaches, when
	// it has heard of one as recently as heardRecently: one that asked a moment before
	// somebody was elected has its next turn there when all others had theirs.
	followedWithin = 4 * time.Second
	heardRecently  = 3 * time.Second
)

// checkFollowing looks whether all nodes are with the coordinator.
func (w *world) checkFollowing() {
	lead := w.coordinatorHost()
	for _, h := range w.hosts {
		reached := ""
		if lead >= 0 && w.mayFollow(h, w.hosts[lead]) {
			// Another process, or one that stood still, begins anew.
			reached = fmt.Sprintf("%s in term %d, by process %d awake since %s", w.hosts[lead].name, w.hosts[lead].process.voter.lead.term, h.starts, h.process.woke)
		}
		if reached == "" {
			w.violate(w.following.Look(w.kernel.now, h.name, "", 0, false))
			continue
		}
		s := h.process.agent.session
		w.violate(w.following.Look(w.kernel.now, h.name, reached, s.contact, s.coordinator() == lead))
	}
}

// mayFollow: nothing is wrong on either side, nor between them.
func (w *world) mayFollow(h, lead *host) bool {
	p, c := h.process, lead.process
	if p == nil || p.dead || p.isPaused() || c.isPaused() || p.agent == nil || p.agent.session == nil || p.left {
		return false
	}
	if !w.net.reachable(h.index, lead.index) || w.net.quality(h.index, lead.index) != healthy || w.net.quality(lead.index, h.index) != healthy {
		return false
	}
	view := c.voter.store.View()
	node := view.Node(h.name)
	peer, ok := c.admit(p.leaf())
	return ok && p.connects(c) && dispatcher.CheckNode(view, peer) == nil && view.Adopted(node) && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED
}
