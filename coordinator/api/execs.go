package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/spool"
)

// Execs brings into the audit log who runs commands in placements.
type Execs interface {
	// Write commits a record, here or by the coordinator. It asks to judge again
	// when who may do what has changed since.
	Write(ctx context.Context, record *sitev1.ExecRecord) (judgeAgain bool, err error)
	// Keep keeps a record durably until it can be written.
	Keep(record *sitev1.ExecRecord) error
}

// recordExec brings it into the audit log that the caller runs a command, before
// it runs. Without a quorum the command is not refused: the record waits on this
// voter's disk.
func (s *Server) recordExec(ctx context.Context, start *skerryv1.ExecStart) error {
	return s.recordDeed(ctx, &sitev1.RecordExec{
		Project: projectOr(start.GetProject(), defaultProject), Placement: start.GetPlacement(),
		Command: spool.Asked(start), Tty: start.GetTty(),
	})
}

// recordDeed is for what a node does at once, without an entry of its own.
func (s *Server) recordDeed(ctx context.Context, deed *sitev1.RecordExec) error {
	call := guard.From(ctx)
	deed.Witness, deed.Happened = s.Node, timestamppb.New(s.SiteTime.Read().Time)
	record := &sitev1.ExecRecord{RequestId: s.newID(), Principal: principalFrom(ctx).ID, From: hostFrom(ctx), Exec: deed}
	for range maxJudged {
		record.AccessRevision = call.Revision()
		again, err := s.writeExec(ctx, record)
		if err != nil || !again {
			return err
		}
		if err := call.Again(); err != nil {
			return err
		}
	}
	return problem.New(problem.Unavailable, "access", "who may do what changes faster than this can be judged").
		WithHint("nothing was run; try again")
}

func (s *Server) writeExec(ctx context.Context, record *sitev1.ExecRecord) (judgeAgain bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	again, err := s.Execs.Write(bounded, record)
	if err == nil || ctx.Err() != nil {
		return again, err
	}
	switch problem.KindOf(problem.FromConnect(err)) {
	case problem.Unavailable, problem.Timeout:
		return false, s.Execs.Keep(record)
	default:
		return false, err
	}
}

// countLogs notes who reads whose logs.
func (s *Server) countLogs(ctx context.Context, req *skerryv1.LogsRequest) {
	s.Reads.Count(principalFrom(ctx).ID, &skerryv1.AuditRefusal{
		Resource: "Placement/" + projectOr(req.GetProject(), defaultProject) + "/" + req.GetPlacement(), From: hostFrom(ctx),
	})
}
