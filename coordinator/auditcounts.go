package coordinator

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// writeRefusals brings what was refused here into the log.
func (v *Voter) writeRefusals(ctx context.Context) {
	v.writeCounts(ctx, v.refusals, func(counted *sitev1.RecordRefusals) *sitev1.Entry {
		return &sitev1.Entry{Change: &sitev1.Entry_RecordRefusals{RecordRefusals: counted}}
	}, func(counted []*sitev1.RecordRefusals) *sitev1.ReportRefusalsRequest {
		return &sitev1.ReportRefusalsRequest{Refusals: counted}
	})
}

// writeReads brings what logs were read here into the log.
func (v *Voter) writeReads(ctx context.Context) {
	v.writeCounts(ctx, v.reads, func(counted *sitev1.RecordRefusals) *sitev1.Entry {
		return &sitev1.Entry{Change: &sitev1.Entry_RecordReads{RecordReads: readsOf(counted)}}
	}, func(counted []*sitev1.RecordRefusals) *sitev1.ReportRefusalsRequest {
		report := &sitev1.ReportRefusalsRequest{}
		for _, one := range counted {
			report.Reads = append(report.Reads, readsOf(one))
		}
		return report
	})
}

// readsOf are counts as reads: they have no reason.
func readsOf(counted *sitev1.RecordRefusals) *sitev1.RecordReads {
	reads := &sitev1.RecordReads{Principal: counted.GetPrincipal(), Node: counted.GetNode(), More: counted.GetMore()}
	for _, one := range counted.GetRefusals() {
		reads.Reads = append(reads.Reads, &skerryv1.AuditRead{Resource: one.GetResource(), Count: one.GetCount(), From: one.GetFrom()})
	}
	return reads
}

// countsOf is the way back.
func countsOf(reads *sitev1.RecordReads) *sitev1.RecordRefusals {
	counted := &sitev1.RecordRefusals{Principal: reads.GetPrincipal(), Node: reads.GetNode(), More: reads.GetMore()}
	for _, one := range reads.GetReads() {
		counted.Refusals = append(counted.Refusals, &skerryv1.AuditRefusal{Resource: one.GetResource(), Count: one.GetCount(), From: one.GetFrom()})
	}
	return counted
}

// writeCounts brings what was counted here into the log: one entry for each
// principal. What cannot be written waits for the next time.
func (v *Voter) writeCounts(ctx context.Context, counts *audit.Refusals, entry func(*sitev1.RecordRefusals) *sitev1.Entry,
	report func([]*sitev1.RecordRefusals) *sitev1.ReportRefusalsRequest) {
	if !v.node.Status().HasQuorum {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, auditTime)
	defer cancel()
	taken := counts.Take()
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
		counts.Return(one)
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
