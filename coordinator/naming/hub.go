// Package naming tells the nodes what their DNS answers from: which placements
// serve, and where. It sends differences, each encoded once for all nodes.
package naming

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
	"skerry.dev/shared/env"
)

const (
	// settle is how long changes gather: longer where looking takes long, but
	// never so long that what is to stop would be ended before all know.
	settle    = 50 * time.Millisecond
	maxSettle = 250 * time.Millisecond
	lookShare = 10
	// maxSteps and maxBytes of differences are kept for nodes that come back.
	maxSteps = 1024
	maxBytes = 4 << 20
)

// Log is what the hub needs of the replicated log.
type Log interface {
	Status() consensus.Status
	// Changed is closed at the next change of the status.
	Changed() <-chan struct{}
}

// Hub serves the nodes while this voter coordinates. Run must run while it does.
type Hub struct {
	log    Log
	store  *state.Store
	clock  env.Clock
	logger *slog.Logger

	mu   sync.Mutex
	book *book
	term uint64 // of the coordinator whose book it is; 0 for none
	// steps are the newest differences; number counts all there ever were.
	steps  []*sitev1.EndpointsResponse
	number uint64
	bytes  int
	// base is the digest before the first of steps.
	base  uint64
	whole *sitev1.EndpointsResponse // of now; nil when nobody has asked
	order *sitev1.Order
	moved chan struct{}
}

// New returns a hub; it starts nothing.
func New(log Log, store *state.Store, clock env.Clock, logger *slog.Logger) *Hub {
	return &Hub{log: log, store: store, clock: clock, logger: logger, moved: make(chan struct{})}
}

// Run follows the state until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	for {
		stateChanged, statusChanged := h.store.Changed(), h.log.Changed()
		begun := h.clock.Elapsed()
		status := h.log.Status()
		if status.Serving {
			h.look(status.Term)
		} else {
			h.forget()
			stateChanged = nil
		}
		pause := min(maxSettle, max(settle, lookShare*(h.clock.Elapsed()-begun)))
		if err := env.Sleep(ctx, h.clock, pause); err != nil {
			return err
		}
		select {
		case <-stateChanged:
		case <-statusChanged:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look at the state as it is now.
func (h *Hub) look(term uint64) {
	view := h.store.View()
	h.take(&sitev1.Order{SiteEpoch: view.SiteEpoch(), Term: term, Index: view.Index()}, view.Placements(), view.Serves)
}

// take in what the coordinator of a term knows.
func (h *Hub) take(order *sitev1.Order, placements []*skerryv1.Placement, serves func(*skerryv1.Placement) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := h.term != order.GetTerm()
	if fresh {
		h.book, h.term, h.steps, h.bytes, h.whole = newBook(), order.GetTerm(), nil, 0, nil
		h.number++ // whoever was at an earlier step is at none of these
	}
	changes := h.book.follow(placements, serves)
	h.order = order
	switch {
	case fresh:
		h.base = h.book.set.Digest()
	case changes == nil:
		return
	default:
		h.add(changes)
	}
	close(h.moved)
	h.moved = make(chan struct{})
}

// add needs mu.
func (h *Hub) add(changes *sitev1.EndpointChanges) {
	response := &sitev1.EndpointsResponse{Order: h.order, Changes: endpoints.Pack(changes), Digest: h.book.set.Digest()}
	h.steps = append(h.steps, response)
	h.bytes += len(response.GetChanges())
	h.number++
	h.whole = nil
	for len(h.steps) > maxSteps || h.bytes > maxBytes {
		h.base = h.steps[0].GetDigest()
		h.bytes -= len(h.steps[0].GetChanges())
		h.steps = h.steps[1:]
	}
}

// forget what another coordinator may know better.
func (h *Hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.term != 0 {
		h.term, h.book, h.steps, h.bytes, h.whole = 0, nil, nil, 0, nil
		close(h.moved)
		h.moved = make(chan struct{})
	}
}

// Begin returns the first response for a node that has what the digest tells,
// and where it then is; none while this voter does not coordinate.
func (h *Hub) Begin(digest uint64) (response *sitev1.EndpointsResponse, term, at uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.term == 0 {
		return nil, 0, 0
	}
	none := &sitev1.EndpointsResponse{Order: h.order, Changes: endpoints.Pack(&sitev1.EndpointChanges{}), Digest: digest}
	first := h.number - uint64(len(h.steps))
	for i := len(h.steps) - 1; i >= 0; i-- {
		if h.steps[i].GetDigest() == digest {
			return none, h.term, first + uint64(i) + 1
		}
	}
	if h.base == digest {
		return none, h.term, first
	}
	return h.all(), h.term, h.number
}

// all needs mu.
func (h *Hub) all() *sitev1.EndpointsResponse {
	if h.whole == nil {
		h.whole = &sitev1.EndpointsResponse{
			Order: h.order, Whole: true, Digest: h.book.set.Digest(),
			Changes: endpoints.Pack(&sitev1.EndpointChanges{Set: h.book.set.All()}),
		}
	}
	return h.whole
}

// Next returns what follows for a node, or what to wait for. over tells that the
// term has ended, or has not begun.
func (h *Hub) Next(term, at uint64) (response *sitev1.EndpointsResponse, to uint64, moved <-chan struct{}, over bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.term != term || term == 0 {
		return nil, 0, h.moved, true
	}
	first := h.number - uint64(len(h.steps))
	switch {
	case at == h.number:
		return nil, at, h.moved, false
	case at < first: // it was too slow
		return h.all(), h.number, nil, false
	default:
		return h.steps[at-first], at + 1, nil, false
	}
}
