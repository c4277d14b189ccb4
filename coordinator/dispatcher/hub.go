package dispatcher

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/orders"
)

// gatherEach node of the site takes this long: changes of the peers, and of what
// else concerns all nodes, gather before everybody is told. At once on a small
// site, a second on one of 5,000 nodes.
const gatherEach = 200 * time.Microsecond

// hub watches the state once for all streams, and wakes those whose orders may
// have changed.
type hub struct {
	book orders.Book
	site atomic.Pointer[siteOrders]

	mu       sync.Mutex
	sessions map[string]map[*session]bool
	open     int
	// turned is the index that the hub has taken in, next is closed when that
	// changes.
	turned uint64
	next   chan struct{}

	// What follows belongs to the goroutine that turns the hub.

	// index up to which single nodes were woken.
	index uint64
	// changed are nodes whose records may have changed since the peers were looked
	// at; everything is set when it is not known which.
	changed    map[string]bool
	everything bool
	// nodesAt and commonAt are the state's indexes at the last look, at its time.
	nodesAt, commonAt uint64
	at                time.Duration
	looked            bool
}

// siteOrders are what the orders of all nodes have in common, at one moment.
type siteOrders struct {
	revision uint64
	encoded  []byte
	survey   *survey
}

func newHub(view *state.View) *hub {
	h := &hub{sessions: map[string]map[*session]bool{}, changed: map[string]bool{}, everything: true, next: make(chan struct{})}
	h.publish(view, true)
	return h
}

// enter notes a stream; leave forgets it.
func (h *hub) enter(s *session) (leave func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.node] == nil {
		h.sessions[s.node] = map[*session]bool{}
	}
	h.sessions[s.node][s] = true
	h.open++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open--
		if delete(h.sessions[s.node], s); len(h.sessions[s.node]) == 0 {
			delete(h.sessions, s.node)
		}
	}
}

func (h *hub) reported() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var nodes []string
	for node, sessions := range h.sessions {
		for s := range sessions {
			if s.acknowledged.Load() > 0 {
				nodes = append(nodes, node)
				break
			}
		}
	}
	slices.Sort(nodes)
	return nodes
}

// pace is how long either side of a stream may be silent: so that all of them
// together say no more than some thousands of words a second.
func (h *hub) pace() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(heartbeatEvery, time.Duration(h.open)*paceEach)
}

// wake the streams of these nodes.
func (h *hub) wake(nodes []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, node := range nodes {
		for s := range h.sessions[node] {
			s.outdated()
		}
	}
}

func (h *hub) wakeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, sessions := range h.sessions {
		for s := range sessions {
			s.outdated()
		}
	}
}

// watch turns the hub until ctx ends.
func (d *Dispatcher) watch(ctx context.Context) error {
	timer := d.clock.NewTimer(0)
	defer timer.Stop()
	for {
		stateChanged, statusChanged := d.store.Changed(), d.log.Changed()
		again := d.hub.turn(d.store.View(), d.clock.Elapsed())
		timer.Reset(max(again, settle))
		if again == 0 {
			timer.Stop()
		}
		select {
		case <-stateChanged:
		case <-statusChanged:
			d.hub.wakeAll() // the term may be over
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := env.Sleep(ctx, d.clock, settle); err != nil {
			return err
		}
	}
}

// turn takes in a newer state. It returns after how long it wants to look again,
// 0 when nothing is left to do.
func (h *hub) turn(view *state.View, now time.Duration) time.Duration {
	touched, known := view.TouchedAfter(h.index)
	h.index = view.Index()
	for _, node := range touched {
		h.changed[node] = true
	}
	h.everything = h.everything || !known
	again := time.Duration(0)
	all := !known || h.publish(view, false)
	if h.nodesAt != view.NodesIndex() || h.commonAt != view.CommonIndex() || h.everything {
		gather := time.Duration(view.NodeCount()) * gatherEach
		if due := h.at + gather; h.looked && now < due {
			again = due - now
		} else {
			h.look(view)
			h.publish(view, true)
			h.at, h.looked, all = now, true, true
		}
	} else if len(h.changed) > 0 {
		clear(h.changed) // placements, not records
	}
	h.reached(view.Index())
	if all {
		h.wakeAll()
	} else {
		h.wake(touched)
	}
	return again
}

func (h *hub) reached(index uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if index > h.turned {
		h.turned = index
		close(h.next)
		h.next = make(chan struct{})
	}
}

// await the turn that takes in an index: what a stream begins with is not older
// than what its node knew when it came.
func (h *hub) await(ctx context.Context, index uint64) error {
	for {
		h.mu.Lock()
		turned, next := h.turned, h.next
		h.mu.Unlock()
		if turned >= index {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look at the peers that may have changed.
func (h *hub) look(view *state.View) {
	peers := map[string]*sitev1.Peer{}
	if h.everything {
		for _, name := range h.book.Names() {
			peers[name] = nil
		}
		for _, peer := range view.Peers() {
			peers[peer.GetName()] = peer
		}
	} else {
		for name := range h.changed {
			peers[name] = state.PeerOf(view.Node(name))
		}
	}
	h.book.Set(peers)
	clear(h.changed)
	h.everything, h.nodesAt, h.commonAt = false, view.NodesIndex(), view.CommonIndex()
}

// publish what is common, if it has changed, or with a new survey. It tells
// whether it did.
func (h *hub) publish(view *state.View, anew bool) bool {
	encoded := encode(common(view))
	before := h.site.Load()
	same := before != nil && bytes.Equal(encoded, before.encoded)
	if same && !anew {
		return false
	}
	next := &siteOrders{revision: 1, encoded: encoded}
	if before != nil {
		next.survey, next.revision = before.survey, before.revision
		if !same {
			next.revision++
		}
	}
	if anew || !same {
		next.survey = surveyOf(view, next.survey)
	}
	h.site.Store(next)
	return true
}
