package agent

import (
	"context"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/spool"
)

const (
	// execsFile holds what was run while no voter was in reach.
	execsFile = "execs.spool"
	// handOverEvery is how often the coordinator is brought what waits.
	handOverEvery = time.Second
	handOverTime  = 5 * time.Second
)

func (a *Agent) openExecs() error {
	path := filepath.Join(a.Config.StateDir, execsFile)
	opened, damaged, err := spool.Open(a.Env.FS, path)
	if err != nil {
		return err
	}
	if damaged != "" {
		a.Logger.Error("records for the audit log were damaged on disk and are missing in it", "kept", damaged)
	}
	a.execs = opened
	return nil
}

// handOverExecs brings the coordinator what waits, one record after the other,
// until ctx ends. After a crash a record may be sent again: it has the same
// request ID, and is one entry.
func (a *Agent) handOverExecs(ctx context.Context) error {
	for {
		if err := env.Sleep(ctx, a.Env.Clock, handOverEvery); err != nil {
			return err
		}
		for a.execs.First() != nil {
			if err := a.handOverExec(ctx, a.execs.First()); err != nil {
				a.Logger.Debug("a record could not be handed over to the audit log", "error", err)
				break
			}
		}
	}
}

func (a *Agent) handOverExec(ctx context.Context, encoded []byte) error {
	address := a.session.Coordinator()
	if address == "" {
		return problem.New(problem.Unavailable, "audit log", "no coordinator is in reach")
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	record := &sitev1.ExecRecord{}
	if err := proto.Unmarshal(encoded, record); err != nil {
		a.Logger.Error("a record for the audit log does not parse and is dropped", "error", err)
		return a.execs.Drop(encoded)
	}
	client := sitev1connect.NewAuditPeerServiceClient(a.toVoters, "https://"+address, connect.WithReadMaxBytes(64<<10))
	if _, err := client.WriteExec(ctx, connect.NewRequest(&sitev1.WriteExecRequest{Record: record})); err != nil {
		err = problem.FromConnect(err)
		if kind := problem.KindOf(err); kind != problem.Invalid && kind != problem.Conflict {
			return err
		}
		a.Logger.Error("the audit log refused a record", "request", record.GetRequestId(), "error", err)
	}
	return a.execs.Drop(encoded)
}
