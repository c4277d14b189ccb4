package agent

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/guard"
	"skerry.dev/agent/lease"
	"skerry.dev/agent/probe"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/problem"
)

// maxLeaseAnswer of the coordinator, in bytes.
const maxLeaseAnswer = 1 << 20

// newLeases keeps the leases of what is exclusive on this node.
func (a *Agent) newLeases() (*lease.Keeper, error) {
	run, err := probe.Run()
	if err != nil {
		return nil, err
	}
	return lease.New(lease.Config{
		Ledger: a.ledger,
		Guard: &guard.Client{
			Dir: a.Config.RunDir, Run: run, Net: a.Env.Net, Now: func() time.Time { return a.Env.Clock.Now() },
		},
		StartGuard: a.startGuard, Target: a.Runtime.GuardTarget, Coordinator: a.askForLeases, Env: a.Env, Logger: a.Logger,
	}), nil
}

// askForLeases asks the coordinator that this node has contact with, for as long as it
// has: the next request goes to the one after it.
func (a *Agent) askForLeases(ctx context.Context, asks []*sitev1.LeaseAsk) (*sitev1.RenewLeasesResponse, error) {
	address, moved := a.session.Contact()
	if address == "" {
		return nil, problem.New(problem.Unavailable, "leases", "no coordinator is in reach")
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		select {
		case <-moved:
			cancel()
		case <-ctx.Done():
		}
	})
	client := sitev1connect.NewLeaseServiceClient(a.toVoters, "https://"+address, connect.WithReadMaxBytes(maxLeaseAnswer))
	response, err := client.RenewLeases(ctx, connect.NewRequest(&sitev1.RenewLeasesRequest{Node: a.identity.Name(), Asks: asks}))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	return response.Msg, nil
}

// startGuard starts the guard of this machine in a session of its own: it goes on
// when this agent ends, however that ends.
func (a *Agent) startGuard() error {
	args := []string{"guard", "--run-dir", a.Config.RunDir}
	if a.Config.Watchdog != "" {
		args = append(args, "--watchdog", a.Config.Watchdog)
	}
	process := exec.Command("/proc/self/exe", args...) // also when the file has been replaced
	process.Args[0] = "skerry"
	process.Stderr = os.Stderr
	process.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := process.Start(); err != nil {
		return err
	}
	// It ends when it has had nothing to do for a while, or with the machine.
	go func() { _ = process.Wait() }()
	return nil
}
