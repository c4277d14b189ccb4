package coordinator

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// auditEvery is how often the audit log is looked after.
	auditEvery = 500 * time.Millisecond
	// refusalsEvery is the interval of which one principal's refusals are one
	// entry.
	refusalsEvery = 5 * time.Second
	auditTime     = 5 * time.Second
)

// keepAudit looks after the audit log until ctx ends.
func (v *Voter) keepAudit(ctx context.Context) error {
	var wroteRefusals time.Duration
	for {
		if err := env.Sleep(ctx, v.Env.Clock, auditEvery); err != nil {
			return err
		}
		if now := v.Env.Clock.Elapsed(); now-wroteRefusals >= refusalsEvery {
			wroteRefusals = now
			v.writeRefusals(ctx)
		}
		v.fillLeaves(ctx)
		for _, step := range []func() error{
			func() error { return v.signCheckpoint(ctx) }, v.watchCheckpoints, v.deleteArchived,
		} {
			if err := step(); err != nil && ctx.Err() == nil {
				v.Logger.Warn("the audit log could not be looked after", "error", err)
			}
		}
	}
}

// writeRefusals brings what was refused here into the log: one entry for each
// principal. What cannot be written waits for the next time.
func (v *Voter) writeRefusals(ctx context.Context) {
	if !v.node.Status().HasQuorum {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, auditTime)
	defer cancel()
	taken := v.refusals.Take()
	for len(taken) > 0 && v.node.Status().Serving {
		outcome, err := v.Propose(ctx, &sitev1.Entry{
			RequestId: v.newID(), Principal: "coordinator",
			Change: &sitev1.Entry_RecordRefusals{RecordRefusals: taken[0]},
		})
		if err != nil || outcome.GetErrorKind() != "" {
			v.Logger.Debug("refusals could not be written", "error", err, "outcome", outcome.GetError())
			break
		}
		taken = taken[1:]
	}
	if len(taken) > 0 && v.sendRefusals(ctx, taken) == nil {
		return
	}
	for _, one := range taken {
		v.refusals.Return(one)
	}
}

// sendRefusals brings them to the coordinator.
func (v *Voter) sendRefusals(ctx context.Context, taken []*sitev1.RecordRefusals) error {
	leader := v.store.View().NodeOfReplica(v.node.Status().Leader)
	if leader == nil || leader.GetName() == v.Node {
		return problem.New(problem.Unavailable, "coordinator", "there is none")
	}
	_, err := v.auditPeer(leader.GetName(), leader.GetAddress()).ReportRefusals(ctx,
		connect.NewRequest(&sitev1.ReportRefusalsRequest{Refusals: taken}))
	return err
}

func (v *Voter) auditPeer(node, address string) sitev1connect.AuditPeerServiceClient {
	return sitev1connect.NewAuditPeerServiceClient(v.clients.to(node, mtls.Sync), "https://"+address,
		connect.WithReadMaxBytes(maxAuditAnswer))
}
