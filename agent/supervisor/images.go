package supervisor

import (
	"context"
	"time"

	"skerry.dev/agent/reconcile"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// keepAgain is the pause after a copy that could not be fetched.
const keepAgain = 5 * time.Second

// fetch makes the image of a placement present.
func (s *Supervisor) fetch(ctx context.Context, action reconcile.Action) error {
	orders := s.Ledger.Current()
	digest := action.Spec.ImageDigest
	for _, image := range orders.GetImages() {
		if image.GetDigest() == digest {
			return s.ensure(ctx, orders, image)
		}
	}
	return s.Images.Ensure(ctx, digest, action.Spec.Container.GetImage(), nil)
}

// ensure asks the nodes that hold the image, at the addresses of the peer book.
func (s *Supervisor) ensure(ctx context.Context, orders *sitev1.Assignments, image *sitev1.ImageSource) error {
	addresses := map[string]string{}
	for _, peer := range orders.GetPeers() {
		addresses[peer.GetName()] = peer.GetAddress()
	}
	var sources []string
	for _, node := range image.GetNodes() {
		if address := addresses[node]; address != "" {
			sources = append(sources, address)
		}
	}
	return s.Images.Ensure(ctx, image.GetDigest(), image.GetName(), sources)
}

// keepLoop fetches the copies that this node keeps for the site, one after the
// other.
func (s *Supervisor) keepLoop(ctx context.Context) error {
	timer := s.Env.Clock.NewTimer(keepAgain)
	defer timer.Stop()
	kept := map[string]bool{} // names with digests that are here; nothing removes them
	for {
		changed := s.Ledger.Changed()
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
	for _, image := range orders.GetImages() {
		key := image.GetName() + "@" + image.GetDigest()
		if !image.GetKeep() || kept[key] {
			continue
		}
		fetchCtx, cancel := context.WithTimeout(ctx, fetchTimeout)
		err := s.ensure(fetchCtx, orders, image)
		cancel()
		if err != nil {
			s.Logger.Debug("a copy of an image is not here yet", "image", image.GetName(), "error", err)
			all = false
			continue
		}
		kept[key] = true
	}
	return all
}
