package api

import (
	"bufio"
	"cmp"
	"context"
	"slices"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// exportChunk bytes go into one message.
const exportChunk = 256 << 10

func (a auditLog) ExportAudit(ctx context.Context, req *connect.Request[skerryv1.ExportAuditRequest], stream *connect.ServerStream[skerryv1.ExportAuditResponse]) error {
	view, _ := a.read(ctx, false)
	header, err := a.exportHeader(view, req.Msg.GetFirst())
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(&sender{stream: stream, size: header.GetSize()}, exportChunk)
	err = audit.WriteExport(out, header, func(put func([]byte) error) error {
		return a.Leaves.Each(header.GetFirst(), header.GetSize(), func(leaf audit.Leaf) (bool, error) {
			return ctx.Err() == nil, put(leaf.Data)
		})
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// exportHeader is of all entries from first on that the newest checkpoint
// covers.
func (a auditLog) exportHeader(view *state.View, first uint64) (*sitev1.ExportHeader, error) {
	from, through := a.Leaves.Range()
	first = max(first, from, view.Audit().First)
	newest := newestCheckpoint(view)
	if newest == nil {
		return nil, noCheckpoint()
	}
	if newest.GetSize() <= first {
		return nil, problem.New(problem.NotFound, "audit log", "the entries from %d on are not signed yet: the last that is, is %d", first, newest.GetSize()-1).
			WithHint("new ones are signed within seconds; begin with an earlier one, or try again")
	}
	if newest.GetSize() > through {
		return nil, problem.New(problem.Unavailable, "audit log", "%s still fetches entries: it has %d of %d", a.Node, through, newest.GetSize()).
			WithHint("try again in a few seconds, or ask another voter with --address")
	}
	edge, err := audit.FrontierAt(a.Leaves, first)
	if err != nil {
		return nil, err
	}
	header := &sitev1.ExportHeader{
		Site: view.Site(), SiteId: view.SiteID(), First: first, Size: newest.GetSize(), Edge: edge.Edge(), Trust: view.Trust(),
	}
	signed := slices.Clone(view.Audit().Checkpoints)
	slices.SortStableFunc(signed, func(x, y *sitev1.AuditCheckpoint) int { return cmp.Compare(x.GetSize(), y.GetSize()) })
	for _, c := range signed {
		if c.GetSize() >= first {
			header.Checkpoints = append(header.Checkpoints, c.GetNote())
		}
	}
	return header, nil
}

// sender writes into the stream.
type sender struct {
	stream *connect.ServerStream[skerryv1.ExportAuditResponse]
	size   uint64
}

func (s *sender) Write(p []byte) (int, error) {
	if err := s.stream.Send(&skerryv1.ExportAuditResponse{Data: p, Size: s.size}); err != nil {
		return 0, err
	}
	return len(p), nil
}
