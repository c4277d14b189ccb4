package agent

import (
	"context"
	"net"

	"skerry.dev/agent/move"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/problem"
)

// newMover moves virtual machines; nil when what runs here cannot.
func (a *Agent) newMover() *move.Mover {
	driver, can := a.Runtime.(move.Driver)
	if !can {
		return nil
	}
	return move.New(move.Config{
		Ledger: a.ledger, Driver: driver, Tasks: a.supervisor, Env: a.Env, Logger: a.Logger,
		Begin: func(id string) error { _, err := a.leases.Begin(id); return err },
		Dial: func(ctx context.Context, node string) (net.Conn, error) {
			for _, peer := range a.ledger.Current().GetPeers() {
				if peer.GetName() == node {
					return a.dialer.Dial(ctx, peer.GetAddress(), mtls.Move, mtls.ExpectNode(node))
				}
			}
			return nil, problem.New(problem.NotFound, "Node/"+node, "its address is not known")
		},
	})
}
