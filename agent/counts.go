package agent

import (
	"context"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/image"
	"skerry.dev/agent/reconcile"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// Files of what happened while no voter was in reach.
const (
	refusalsFile = "refusals.counts"
	readsFile    = "reads.counts"
)

func (a *Agent) openCounts() error {
	now := func() time.Time { return a.identity.SiteTime().Read().Time }
	for _, of := range []struct {
		counted **counts.Counts
		file    string
	}{{&a.refusals, refusalsFile}, {&a.reads, readsFile}} {
		*of.counted = &counts.Counts{Node: a.identity.Name(), Now: now}
		damaged, err := (*of.counted).Open(a.Env.FS, filepath.Join(a.Config.StateDir, of.file))
		if err != nil {
			return err
		}
		if damaged != "" {
			a.Logger.Error("counts for the audit log were damaged on disk and are missing in it", "kept", damaged)
		}
	}
	return nil
}

// countResidency notes what the coordinator ordered this node to start though it
// must be kept elsewhere.
func (a *Agent) countResidency(refusal reconcile.Refusal) {
	a.refusals.Count("coordinator", &skerryv1.AuditRefusal{
		Reason: string(problem.Forbidden), Resource: "Placement/" + refusal.Project + "/" + refusal.Name, From: a.identity.Name(), Message: refusal.Why,
	})
}

// imageGate judges by this node's own orders who may fetch images from it.
func (a *Agent) imageGate() image.Gate {
	return image.Gate{
		Keys: func() [][]byte { return a.ledger.Current().GetImageKeys() },
		Refused: func(peer certs.Peer, address, digest string) {
			a.refusals.Count(peer.ID.String(), &skerryv1.AuditRefusal{
				Reason: string(problem.Forbidden), Resource: "Image/" + digest, From: counts.HostOf(address),
				Message: "it showed no right to the image: no placement of that node, and no copy that it keeps, needs it",
			})
		},
	}
}

// handOverCounts brings the coordinator what was counted here, and keeps on disk
// what it cannot bring, until ctx ends.
func (a *Agent) handOverCounts(ctx context.Context) error {
	for {
		err := env.Sleep(ctx, a.Env.Clock, handOverEvery)
		if err == nil && a.session.Coordinator() != "" && !a.identity.Evicted() {
			a.reportCounts(ctx)
		}
		for _, counted := range []*counts.Counts{a.refusals, a.reads} {
			if err := counted.Save(); err != nil {
				a.Logger.Warn("counts for the audit log could not be kept on disk", "error", err)
			}
		}
		if err != nil {
			return err
		}
	}
}

func (a *Agent) reportCounts(ctx context.Context) {
	refusals, reads := a.refusals.Take(), a.reads.Take()
	if len(refusals)+len(reads) == 0 {
		return
	}
	report := &sitev1.ReportRefusalsRequest{Refusals: refusals}
	for _, one := range reads {
		report.Reads = append(report.Reads, counts.Reads(one))
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	client := sitev1connect.NewAuditPeerServiceClient(a.toVoters, "https://"+a.session.Coordinator(), connect.WithReadMaxBytes(64<<10))
	if _, err := client.ReportRefusals(ctx, connect.NewRequest(report)); err != nil {
		a.Logger.Debug("what was counted could not be handed over to the audit log", "error", err)
		for _, one := range refusals {
			a.refusals.Return(one)
		}
		for _, one := range reads {
			a.reads.Return(one)
		}
	}
}
