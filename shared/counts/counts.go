// Package counts keeps what happens too often to be written down one by one, such
// as refusals, until it gets into the audit log: by principal, reason and
// resource, bounded, and on disk while nobody takes it over.
package counts

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

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

// Counts counts what was refused, or read, by principal, reason and resource, until
// it is written to the log. It is safe for concurrent use.
type Counts struct {
	// Node that refuses.
	Node string
	// Now is site time; nil when it does not matter.
	Now func() time.Time

	// saving is held over the disk, and taken before mu.
	saving  sync.Mutex
	mu      sync.Mutex
	waiting map[string]*sitev1.RecordRefusals
	disk    disk
}

// Count adds one refusal.
func (r *Counts) Count(principal string, refusal *skerryv1.AuditRefusal) {
	refusal.Count = max(1, refusal.GetCount())
	counted := &sitev1.RecordRefusals{Principal: principal, Node: r.Node, Refusals: []*skerryv1.AuditRefusal{refusal}}
	if r.Now != nil {
		counted.Happened = timestamppb.New(r.Now())
	}
	r.Return(counted)
}

// Return adds what was taken and could not be written, or came from another
// voter.
func (r *Counts) Return(back *sitev1.RecordRefusals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[string]*sitev1.RecordRefusals{}
	}
	principal := cut(back.GetPrincipal(), maxRefusedName)
	if principal == "" {
		principal = "anonymous"
	}
	// What one node saw is not mixed with what another one did: the log names it.
	of := principal + "\x00" + back.GetNode()
	if r.waiting[of] == nil && len(r.waiting) >= maxPrincipals {
		principal = Others
		of = principal + "\x00" + r.Node
	}
	into := r.waiting[of]
	if into == nil {
		into = &sitev1.RecordRefusals{Principal: principal, Node: cut(back.GetNode(), maxRefusedDetail), Happened: back.GetHappened()}
		r.waiting[of] = into
	}
	if earlier(back.GetHappened(), into.GetHappened()) {
		into.Happened = back.GetHappened()
	}
	r.disk.changed = true
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
func (r *Counts) Take() []*sitev1.RecordRefusals {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.sorted()
	r.disk.changed = r.disk.changed || len(taken) > 0
	clear(r.waiting)
	return taken
}

// sorted is what waits. r.mu is held.
func (r *Counts) sorted() []*sitev1.RecordRefusals {
	var all []*sitev1.RecordRefusals
	for _, one := range r.waiting {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *sitev1.RecordRefusals) int {
		return cmp.Or(strings.Compare(a.GetPrincipal(), b.GetPrincipal()), strings.Compare(a.GetNode(), b.GetNode()))
	})
	return all
}

func earlier(a, b *timestamppb.Timestamp) bool {
	return a != nil && (b == nil || a.AsTime().Before(b.AsTime()))
}

// cut keeps the log's strings valid and short.
func cut(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "�")
}
