package coordinator

import (
	"context"

	"connectrpc.com/connect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/problem"
)

// writeRefusals brings what was refused here into the log.
func (v *Voter) writeRefusals(ctx context.Context, from *counts.Counts) {
	v.writeCounts(ctx, from, func(counted *sitev1.RecordRefusals) *sitev1.Entry {
		return &sitev1.Entry{Change: &sitev1.Entry_RecordRefusals{RecordRefusals: counted}}
	}, func(counted []*sitev1.RecordRefusals) *sitev1.ReportRefusalsRequest {
		return &sitev1.ReportRefusalsRequest{Refusals: counted}
	})
}

// writeReads brings what logs were read here into the log.
func (v *Voter) writeReads(ctx context.Context, from *counts.Counts) {
	v.writeCounts(ctx, from, func(counted *sitev1.RecordRefusals) *sitev1.Entry {
		return &sitev1.Entry{Change: &sitev1.Entry_RecordReads{RecordReads: counts.Reads(counted)}}
	}, func(counted []*sitev1.RecordRefusals) *sitev1.ReportRefusalsRequest {
		report := &sitev1.ReportRefusalsRequest{}
		for _, one := range counted {
			report.Reads = append(report.Reads, counts.Reads(one))
		}
		return report
	})
}

// writeCounts brings what was counted here into the log: one entry for each
// principal. What cannot be written waits for the next time.
func (v *Voter) writeCounts(ctx context.Context, from *counts.Counts, entry func(*sitev1.RecordRefusals) *sitev1.Entry,
	report func([]*sitev1.RecordRefusals) *sitev1.ReportRefusalsRequest) {
	defer v.saveCounts(from)
	if !v.node.Status().HasQuorum {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, auditTime)
	defer cancel()
	taken := from.Take()
	for len(taken) > 0 && v.node.Status().Serving {
		one := entry(taken[0])
		one.RequestId, one.Principal = v.newID(), "coordinator"
		outcome, err := v.Propose(ctx, one)
		if err != nil || outcome.GetErrorKind() != "" {
			v.Logger.Debug("counts could not be written", "error", err, "outcome", outcome.GetError())
			break
		}
		taken = taken[1:]
	}
	if len(taken) > 0 && v.sendCounts(ctx, report(taken)) == nil {
		return
	}
	for _, one := range taken {
		from.Return(one)
	}
}

// sendCounts brings them to the coordinator.
func (v *Voter) sendCounts(ctx context.Context, report *sitev1.ReportRefusalsRequest) error {
	leader := v.store.View().NodeOfReplica(v.node.Status().Leader)
	if leader == nil || leader.GetName() == v.Node {
		return problem.New(problem.Unavailable, "coordinator", "there is none")
	}
	_, err := v.auditPeer(leader.GetName(), leader.GetAddress()).ReportRefusals(ctx, connect.NewRequest(report))
	return err
}

// openCounts takes over what waited when this voter's last process ended.
func (v *Voter) openCounts() error {
	for _, of := range []struct {
		counted *counts.Counts
		suffix  string
	}{{v.refusals, ".refusals"}, {v.reads, ".reads"}, {v.seenRefusals, ".seen-refusals"}, {v.seenReads, ".seen-reads"}} {
		damaged, err := of.counted.Open(v.Env.FS, v.AuditDir+of.suffix)
		if err != nil {
			return err
		}
		if damaged != "" {
			v.Logger.Error("counts for the audit log were damaged on disk and are missing in it", "kept", damaged)
		}
	}
	return nil
}

// saveCounts keeps on this voter's disk what waits.
func (v *Voter) saveCounts(all ...*counts.Counts) {
	for _, counted := range all {
		if err := counted.Save(); err != nil {
			v.Logger.Warn("counts for the audit log could not be kept on disk", "error", err)
		}
	}
}
