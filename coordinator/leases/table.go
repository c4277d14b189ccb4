package leases

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/manifest"
)

// Table is what one coordinator has granted in one term. Its times are those of
// one monotonic clock. It is safe for concurrent use: a lease is granted or
// ended, never both.
type Table struct {
	term uint64
	// began is when the first entry of the term had been committed, or later.
	began time.Duration

	mu sync.Mutex
	// until is when a lease that was granted has ended everywhere.
	until map[of]time.Duration
	// ended are never granted again.
	ended map[of]bool
	// kept is how many were in until when those of the past were last forgotten.
	kept int
}

// of which placement.
type of struct{ project, placement string }

// New table for a term that began.
func New(term uint64, began time.Duration) *Table {
	return &Table{term: term, began: began, until: map[of]time.Duration{}, ended: map[of]bool{}}
}

// Term of the table.
func (t *Table) Term() uint64 { return t.term }

// Lapse implements lifecycle.Leases: whatever was granted, by this coordinator or
// by the one before, must have ended.
func (t *Table) Lapse(project, placement string, lease, now time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := of{project, placement}
	if wait := max(t.began+length(lease), t.until[k]) - now; wait > 0 {
		return wait
	}
	delete(t.until, k)
	t.ended[k] = true
	return 0
}

// Lapsed implements lifecycle.Leases.
func (t *Table) Lapsed() [][2]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([][2]string, 0, len(t.ended))
	for k := range t.ended {
		all = append(all, [2]string{k.project, k.placement})
	}
	slices.SortFunc(all, func(a, b [2]string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	return all
}

// length of a lease as whoever granted it counts it.
func length(lease time.Duration) time.Duration { return lease + manifest.DriftBound(lease) }

// Left is how long a placement's lease may still be held at most, by whomever it
// was granted. mine is false when this coordinator has granted none that lasts.
func (t *Table) Left(project, placement string, lease, now time.Duration) (left time.Duration, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	until := t.until[of{project, placement}]
	return max(0, max(until, t.began+length(lease))-now), until > now
}

// Answer a node that asked when received. A majority has confirmed since that
// this coordinator is still the one, and view holds all that was acknowledged
// before.
func (t *Table) Answer(view *state.View, node string, asks []*sitev1.LeaseAsk, received, now time.Duration) *sitev1.RenewLeasesResponse {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(view, now)
	response := &sitev1.RenewLeasesResponse{Order: &sitev1.Order{SiteEpoch: view.SiteEpoch(), Term: t.term, Index: view.Index()}}
	for _, ask := range asks {
		refused := t.grant(view, node, ask, received, now)
		response.Answers = append(response.Answers, &sitev1.LeaseAnswer{Granted: refused == "", Refused: refused})
	}
	return response
}

// grant one lease, or say why not.
func (t *Table) grant(view *state.View, node string, ask *sitev1.LeaseAsk, received, now time.Duration) string {
	k := of{ask.GetProject(), ask.GetPlacement()}
	p := view.Placement(k.project, k.placement)
	lease := manifest.LeaseOf(p.GetSpec())
	switch {
	case !state.HeldBy(p, node):
		return "it is not bound to this node"
	case lease != ask.GetLease().AsDuration():
		return "the node's orders name another lease"
	case !state.MayRun(p) || !t.grantTo(k, lease, received, now):
		return "its lease has ended: another placement takes its place"
	default:
		return ""
	}
}

// grantTo whoever asked when received; false when it has ended for good, or would
// have before the answer.
func (t *Table) grantTo(k of, lease, received, now time.Duration) bool {
	if t.ended[k] || now-received >= lease {
		return false
	}
	t.until[k] = max(t.until[k], received+length(lease))
	return true
}

// forget now and then what has ended by itself and is nobody's any more.
func (t *Table) forget(view *state.View, now time.Duration) {
	if len(t.until)+len(t.ended) < 2*t.kept+64 {
		return
	}
	for k, until := range t.until {
		if until < now && view.Placement(k.project, k.placement) == nil {
			delete(t.until, k)
		}
	}
	for k := range t.ended {
		if view.Placement(k.project, k.placement) == nil {
			delete(t.ended, k) // names never come back
		}
	}
	t.kept = len(t.until) + len(t.ended)
}
