package coordinator

import (
	"context"
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/ticket"
)

const (
	// gossipEvery is how often the coordinator looks at the keys at least,
	// gossipRest the shortest time between two looks.
	gossipEvery    = time.Second
	gossipRest     = 50 * time.Millisecond
	gossipKeyBytes = 32
)

// rotateKeys brings in a new gossip key after an eviction, and leads every
// rotation to its end; and now and then a key for tickets. Keys travel in the log, which evicted replicas do not
// get any more, and on the sync streams of nodes.
func (v *Voter) rotateKeys(ctx context.Context) error {
	timer := v.Env.Clock.NewTimer(gossipEvery)
	defer timer.Stop()
	for {
		changed := v.store.Changed()
		if v.node.Status().Serving {
			view := v.store.View()
			if change := v.nextGossip(view); change != nil {
				v.proposeKey(ctx, change)
			}
			if change := v.nextImageKey(view); change != nil {
				v.proposeKey(ctx, change)
			}
		}
		timer.Reset(gossipEvery)
		select {
		case <-changed:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := env.Sleep(ctx, v.Env.Clock, gossipRest); err != nil {
			return err
		}
	}
}

// nextGossip is the next step; nil when there is none.
func (v *Voter) nextGossip(view *state.View) *sitev1.Entry {
	switch {
	case view.GossipDue():
		key := make([]byte, gossipKeyBytes)
		if _, err := v.Env.Rand.Read(key); err != nil {
			return nil
		}
		return &sitev1.Entry{Change: &sitev1.Entry_RotateGossip{RotateGossip: &sitev1.RotateGossip{Key: key}}}
	case view.GossipNext() && view.GossipSettled():
		return &sitev1.Entry{Change: &sitev1.Entry_AdvanceGossip{
			AdvanceGossip: &sitev1.AdvanceGossip{Version: view.Gossip().GetRing().GetVersion()},
		}}
	}
	return nil
}

// nextImageKey is the next key for tickets; nil while the newest is young.
func (v *Voter) nextImageKey(view *state.View) *sitev1.Entry {
	if view.SiteID() == "" || !view.ImageKeyDue() {
		return nil
	}
	key := make([]byte, ticket.KeySize)
	if _, err := v.Env.Rand.Read(key); err != nil {
		return nil
	}
	return &sitev1.Entry{Change: &sitev1.Entry_RotateImageKey{RotateImageKey: &sitev1.RotateImageKey{Key: key}}}
}

func (v *Voter) proposeKey(ctx context.Context, entry *sitev1.Entry) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	entry.RequestId, entry.Principal = v.newID(), "coordinator"
	if _, err := v.Propose(ctx, entry); err != nil {
		v.Logger.Debug("a key could not be rotated", "error", err)
	}
}
