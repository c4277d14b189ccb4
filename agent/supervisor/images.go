package supervisor

import (
	"context"
	"time"

	"skerry.dev/agent/image"
	"skerry.dev/agent/reconcile"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// keepAgain is the pause after a copy that could not be fetched.
const keepAgain = 5 * time.Second

// fetch makes the image of a placement present.
func (s *Supervisor) fetch(ctx context.Context, action reconcile.Action) error {
	orders := s.Ledger.Current()
	digest := action.Spec.ImageDigest
	for _, source := range orders.GetImages() {
		if source.GetDigest() == digest {
			return s.ensure(ctx, orders, source)
		}
	}
	return s.Images.Ensure(ctx, digest, imageOf(action.Spec), nil)
}

// ensure asks the nodes that hold the image, at the addresses of the peer book.
func (s *Supervisor) ensure(ctx context.Context, orders *sitev1.Assignments, wanted *sitev1.ImageSource) error {
	addresses := map[string]string{}
	for _, peer := range orders.GetPeers() {
		addresses[peer.GetName()] = peer.GetAddress()
	}
	tickets := wanted.GetTickets()
	var sources []image.Source
	for i, node := range wanted.GetNodes() {
		if address := addresses[node]; address != "" && i < len(tickets) {
			sources = append(sources, image.Source{Address: address, Ticket: tickets[i]})
		}
	}
	return s.Images.Ensure(ctx, wanted.GetDigest(), wanted.GetName(), sources)
}

// keepLoop fetches the copies that this node keeps for the site, one after the
// other.
func (s *Supervisor) keepLoop(ctx context.Context) error {
	timer := s.Env.Clock.NewTimer(keepAgain)
	defer timer.Stop()
	kept := map[string]bool{} // names with digests that are here
	var removed uint64
	for {
		changed := s.Ledger.Changed()
		if now := s.Images.Removed(); now != removed {
			removed = now
			clear(kept)
		}
		if s.keepAll(ctx, kept) {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		timer.Reset(keepAgain)
		select {
		case <-changed:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keepAll tells whether all copies are there.
func (s *Supervisor) keepAll(ctx context.Context, kept map[string]bool) bool {
	orders := s.Ledger.Current()
	all := true
	for _, copied := range orders.GetImages() {
		key := copied.GetName() + "@" + copied.GetDigest()
		if !copied.GetKeep() || kept[key] {
			continue
		}
		fetchCtx, cancel := context.WithTimeout(ctx, fetchTimeout)
		err := s.ensure(fetchCtx, orders, copied)
		cancel()
		if err != nil {
			s.Logger.Debug("a copy of an image is not here yet", "image", copied.GetName(), "error", err)
			all = false
			continue
		}
		kept[key] = true
	}
	return all
}
