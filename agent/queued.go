package agent

import (
	"context"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/queue"
	"skerry.dev/agent/seal"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// queueDir holds what operators have queued.
	queueDir = "queued"
	// sendEvery is how often the coordinator is sent what waits.
	sendEvery = time.Second
	sendTime  = 10 * time.Second
)

func (a *Agent) openQueue() error {
	sealer, err := seal.Open(a.Env.FS, a.Env.Rand, identity.Dir(a.Config.StateDir))
	if err != nil {
		return err
	}
	opened, damaged, err := queue.Open(a.Env.FS, sealer, filepath.Join(a.Config.StateDir, queueDir), a.identity.Name())
	if err != nil {
		return err
	}
	if len(damaged) > 0 {
		a.Logger.Error("queued changes were damaged on disk and are not made", "files", damaged)
	}
	a.queue = opened
	return nil
}

// sendQueued sends the coordinator what waits, one change after the other, until
// ctx ends. What is sent again has the same request ID, and is made once.
func (a *Agent) sendQueued(ctx context.Context) error {
	for {
		if err := env.Sleep(ctx, a.Env.Clock, sendEvery); err != nil {
			return err
		}
		for ctx.Err() == nil && a.session.Coordinator() != "" {
			change := a.queue.Next()
			if change == nil {
				break
			}
			decided, why := a.sendOne(ctx, change)
			if err := a.queue.Sent(decided, why); err != nil {
				a.Logger.Error("a queued change was sent and cannot be forgotten", "error", err)
				break
			}
			if !decided {
				break
			}
		}
	}
}

// sendOne tells whether the change was decided, and if not, why.
func (a *Agent) sendOne(ctx context.Context, change *skerryv1.SignedChange) (decided bool, why string) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	client := sitev1connect.NewQueuePeerServiceClient(a.toVoters, "https://"+a.session.Coordinator(), connect.WithReadMaxBytes(64<<10))
	answer, err := client.SendQueued(ctx, connect.NewRequest(&sitev1.SendQueuedRequest{Node: a.identity.Name(), Change: change}))
	if err == nil {
		a.Logger.Info("a queued change was decided", "request", answer.Msg.GetDecided().GetRequestId(), "state", answer.Msg.GetDecided().GetState())
		return true, ""
	}
	err = problem.FromConnect(err)
	switch problem.KindOf(err) {
	case problem.Invalid, problem.Unauthenticated:
		a.Logger.Error("a queued change is dropped: the coordinator knows nobody who asked for it", "error", err)
		return true, ""
	}
	return false, err.Error()
}
