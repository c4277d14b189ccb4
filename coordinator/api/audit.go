package api

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	defaultAudit = 100
	maxAudit     = 1000
	// maxLooked entries are looked at in one call; the caller asks again.
	maxLooked = 20_000
)

// Leaves of the audit log, as this voter keeps them.
type Leaves interface {
	audit.Hashes
	// Range of the leaves that are here: from first up to, not including,
	// through.
	Range() (first, through uint64)
	Edge() audit.Frontier
	Leaf(number uint64) (audit.Leaf, error)
	// Each calls f with the leaves of a range, oldest first, Back newest first,
	// until it returns false.
	Each(from, to uint64, f func(audit.Leaf) (bool, error)) error
	Back(from, to uint64, f func(audit.Leaf) (bool, error)) error
}

// auditLog implements skerry.v1.AuditService.
type auditLog struct{ *Server }

func (a auditLog) ListAudit(ctx context.Context, req *connect.Request[skerryv1.ListAuditRequest]) (*connect.Response[skerryv1.ListAuditResponse], error) {
	_, freshness := a.read(ctx, false)
	first, through := a.Leaves.Range()
	response := &skerryv1.ListAuditResponse{Size: through, First: first, Freshness: freshness}
	limit := int(req.Msg.GetLimit())
	if limit == 0 {
		limit = defaultAudit
	}
	limit = min(limit, maxAudit)
	to := through
	if before := req.Msg.GetBefore(); before != 0 {
		to = min(to, before)
	}
	looked := 0
	err := a.Leaves.Back(first, to, func(leaf audit.Leaf) (bool, error) {
		entry, err := audit.Decode(leaf.Number, leaf.Data)
		if err != nil {
			return false, err
		}
		if matches(entry, req.Msg) {
			response.Entries = append(response.Entries, entry)
		}
		looked++
		if looked == maxLooked && len(response.GetEntries()) < limit && leaf.Number > first {
			response.MoreBefore = leaf.Number
		}
		return len(response.GetEntries()) < limit && looked < maxLooked, nil
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(response), nil
}

func matches(entry *skerryv1.AuditEntry, asked *skerryv1.ListAuditRequest) bool {
	if p := asked.GetPrincipal(); p != "" && p != entry.GetPrincipal() && !strings.HasSuffix(entry.GetPrincipal(), "/"+p) {
		return false
	}
	if asked.GetVerb() != "" && asked.GetVerb() != entry.GetVerb() {
		return false
	}
	if since := asked.GetSince(); since != nil && entry.GetTime().AsTime().Before(since.AsTime()) {
		return false // an older one may be of a later time: an operator can set it back
	}
	wanted := asked.GetResource()
	if wanted == "" {
		return true
	}
	for _, r := range entry.GetResources() {
		if r == wanted || strings.HasPrefix(r, wanted+"/") {
			return true
		}
	}
	return false
}

func (a auditLog) ShowAudit(ctx context.Context, req *connect.Request[skerryv1.ShowAuditRequest]) (*connect.Response[skerryv1.ShowAuditResponse], error) {
	view, freshness := a.read(ctx, false)
	leaf, err := a.Leaves.Leaf(req.Msg.GetNumber())
	if err != nil {
		return nil, err
	}
	entry, err := audit.Decode(leaf.Number, leaf.Data)
	if err != nil {
		return nil, err
	}
	response := &skerryv1.ShowAuditResponse{Entry: entry, Leaf: leaf.Data, Freshness: freshness}
	checkpoint := newestCheckpoint(view)
	if _, through := a.Leaves.Range(); checkpoint.GetSize() <= leaf.Number || checkpoint.GetSize() > through {
		return connect.NewResponse(response), nil // none covers it yet
	}
	if response.Proof, err = audit.ProveLeaf(a.Leaves, checkpoint.GetSize(), leaf.Number); err != nil {
		return nil, err
	}
	response.Checkpoint = checkpoint.GetNote()
	response.Trust, err = encodeTrust(view)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(response), nil
}

func encodeTrust(view *state.View) ([][]byte, error) {
	var chain [][]byte
	for _, version := range view.Trust() {
		encoded, err := proto.Marshal(version)
		if err != nil {
			return nil, err
		}
		chain = append(chain, encoded)
	}
	return chain, nil
}

func (a auditLog) GetCheckpoint(ctx context.Context, _ *connect.Request[skerryv1.GetCheckpointRequest]) (*connect.Response[skerryv1.GetCheckpointResponse], error) {
	view, freshness := a.read(ctx, false)
	newest := newestCheckpoint(view)
	if newest == nil {
		return nil, noCheckpoint()
	}
	return connect.NewResponse(&skerryv1.GetCheckpointResponse{Checkpoint: newest.GetNote(), Freshness: freshness}), nil
}

func noCheckpoint() error {
	return problem.New(problem.Unavailable, "audit log", "no voter has signed a checkpoint yet").
		WithHint("one is signed a few seconds after the first change; try again")
}

// newestCheckpoint is the one of the largest tree, nil for none.
func newestCheckpoint(view *state.View) *sitev1.AuditCheckpoint {
	var newest *sitev1.AuditCheckpoint
	for _, c := range view.Audit().Checkpoints {
		if newest == nil || c.GetSize() > newest.GetSize() {
			newest = c
		}
	}
	return newest
}

func (a auditLog) ArchiveAudit(ctx context.Context, req *connect.Request[skerryv1.ArchiveAuditRequest]) (*connect.Response[skerryv1.ArchiveAuditResponse], error) {
	size := req.Msg.GetSize()
	if _, through := a.Leaves.Range(); size == 0 || size > through {
		return nil, problem.New(problem.Invalid, "audit log", "it has %d entries here, %d cannot be archived", through, size).WithField("size")
	}
	root, err := audit.RootAt(a.Leaves, size)
	if err != nil {
		return nil, err
	}
	if len(req.Msg.GetRoot()) != tlog.HashSize || root != tlog.Hash(req.Msg.GetRoot()) {
		return nil, problem.New(problem.Conflict, "audit log", "the archive holds other entries than the site: the roots of %d entries differ", size).
			WithField("root").WithHint("export again, and keep both files: one of them was changed")
	}
	_, err = a.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_ArchiveAudit{
		ArchiveAudit: &sitev1.ArchiveAudit{Size: size, Root: root[:]},
	}})
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return connect.NewResponse(&skerryv1.ArchiveAuditResponse{Freshness: a.freshness(a.Store.View(), true)}), nil
}
