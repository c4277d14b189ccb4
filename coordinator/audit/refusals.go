package audit

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Bounds of what waits to be written: a flood is counted, not kept.
const (
	maxPrincipals    = 64
	maxPerPrincipal  = 16
	maxRefusedName   = 2048
	maxRefusedDetail = 512
	// Others stands for all principals that there was no room for.
	Others = "others"
)

// Refusals counts what was refused, by principal, reason and resource, until
// it is written to the log. It is safe for concurrent use.
type Refusals struct {
	// Node that refuses.
	Node string

	mu      sync.Mutex
	waiting map[string]*sitev1.RecordRefusals
}

// Count adds one refusal.
func (r *Refusals) Count(principal string, refusal *skerryv1.AuditRefusal) {
	refusal.Count = max(1, refusal.GetCount())
	r.Return(&sitev1.RecordRefusals{Principal: principal, Node: r.Node, Refusals: []*skerryv1.AuditRefusal{refusal}})
}

// Return adds what was taken and could not be written, or came from another
// voter.
func (r *Refusals) Return(back *sitev1.RecordRefusals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[string]*sitev1.RecordRefusals{}
	}
	principal := cut(back.GetPrincipal(), maxRefusedName)
	if principal == "" {
		principal = "anonymous"
	}
	if r.waiting[principal] == nil && len(r.waiting) >= maxPrincipals {
		principal = Others
	}
	into := r.waiting[principal]
	if into == nil {
		into = &sitev1.RecordRefusals{Principal: principal, Node: back.GetNode()}
		r.waiting[principal] = into
	}
	into.More += back.GetMore()
	for _, one := range back.GetRefusals() {
		merge(into, one)
	}
}

func merge(into *sitev1.RecordRefusals, one *skerryv1.AuditRefusal) {
	for _, known := range into.GetRefusals() {
		if known.GetReason() == one.GetReason() && known.GetResource() == one.GetResource() {
			known.Count += one.GetCount()
			known.From, known.Message = cut(one.GetFrom(), maxRefusedDetail), cut(one.GetMessage(), maxRefusedDetail)
			return
		}
	}
	if len(into.GetRefusals()) == maxPerPrincipal {
		into.More += one.GetCount()
		return
	}
	kept := proto.CloneOf(one)
	kept.Reason, kept.Resource = cut(kept.GetReason(), maxRefusedDetail), cut(kept.GetResource(), maxRefusedDetail)
	kept.From, kept.Message = cut(kept.GetFrom(), maxRefusedDetail), cut(kept.GetMessage(), maxRefusedDetail)
	into.Refusals = append(into.Refusals, kept)
}

// Take removes all that waits and returns it, sorted by principal: one entry
// for each.
func (r *Refusals) Take() []*sitev1.RecordRefusals {
	r.mu.Lock()
	defer r.mu.Unlock()
	var taken []*sitev1.RecordRefusals
	for _, one := range r.waiting {
		taken = append(taken, one)
	}
	clear(r.waiting)
	slices.SortFunc(taken, func(a, b *sitev1.RecordRefusals) int { return strings.Compare(a.GetPrincipal(), b.GetPrincipal()) })
	return taken
}

// cut keeps the log's strings valid and short.
func cut(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "�")
}
