package agent

import (
	"context"

	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/gossip"
)

// gossip takes part in the pool, from the first orders of this process on: they
// bring the keys of now, and a node that was evicted while it was away gets
// none (SAFETY, rule 18).
func (a *Agent) gossip(ctx context.Context) error {
	select {
	case <-a.session.Ordered():
	case <-ctx.Done():
		return ctx.Err()
	}
	pool, err := gossip.Open(a.gossipConfig())
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return pool.Run(ctx) })
	group.Go(func() error { return a.followKeys(ctx, pool) })
	return group.Wait()
}

// followKeys takes over the keys that come with the orders, and reports that
// it has.
func (a *Agent) followKeys(ctx context.Context, pool *gossip.Pool) error {
	for {
		changed := a.ledger.Changed()
		if ring := a.ledger.Current().GetGossip(); len(ring.GetKeys()) > 0 {
			if err := pool.SetKeys(ring.GetKeys()); err != nil {
				a.Logger.Warn("the gossip keys could not be taken over", "error", err)
			} else {
				a.facts.setGossip(ring.GetVersion())
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// gossipKeys are those of the newest orders.
func (a *Agent) gossipKeys() [][]byte {
	if keys := a.ledger.Current().GetGossip().GetKeys(); len(keys) > 0 {
		return keys
	}
	return [][]byte{a.identity.GossipKey()}
}
