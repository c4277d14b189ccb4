package coordinator

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
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
	defer v.saveCounts(v.refusals, v.reads, v.seenRefusals, v.seenReads)
	for {
		if err := env.Sleep(ctx, v.Env.Clock, auditEvery); err != nil {
			return err
		}
		if !v.node.Status().HasQuorum {
			v.saveCounts(v.refusals, v.reads, v.seenRefusals, v.seenReads)
		}
		if now := v.Env.Clock.Elapsed(); now-wroteRefusals >= refusalsEvery {
			wroteRefusals = now
			v.writeRefusals(ctx, v.refusals)
			v.writeReads(ctx, v.reads)
			v.writeRefusals(ctx, v.seenRefusals)
			v.writeReads(ctx, v.seenReads)
		}
		v.fillLeaves(ctx)
		for _, step := range []func() error{
			func() error { return v.writeSpooled(ctx) }, func() error { return v.signCheckpoint(ctx) }, v.watchCheckpoints, v.deleteArchived,
		} {
			if err := step(); err != nil && ctx.Err() == nil {
				v.Logger.Warn("the audit log could not be looked after", "error", err)
			}
		}
	}
}

func (v *Voter) auditPeer(node, address string) sitev1connect.AuditPeerServiceClient {
	return sitev1connect.NewAuditPeerServiceClient(v.clients.to(node, mtls.Sync), "https://"+address,
		connect.WithReadMaxBytes(maxAuditAnswer))
}
