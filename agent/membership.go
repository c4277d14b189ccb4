package agent

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// learnTime bounds the question why this node is refused.
const learnTime = 2 * time.Second

// evictedCondition is what an evicted node says of itself to whoever asks it.
const evictedCondition = "Evicted"

// followTrust takes over longer chains of trust as they come with the orders.
func (a *Agent) followTrust(ctx context.Context) error {
	for {
		changed := a.ledger.Changed()
		if err := a.identity.UpdateTrust(a.ledger.Current().GetTrust()); err != nil {
			a.Logger.Warn("the chain of trust that came with the orders was not taken", "error", err)
		}
		a.followAuthorities(a.ledger.Current())
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// followAuthorities does this node's part of a rotation of the CAs: a replica
// makes a new one, and everybody asks for a new SVID when the CA of the present
// one issues no more.
func (a *Agent) followAuthorities(orders *sitev1.Assignments) {
	if orders.GetRaftId() != 0 && orders.GetAuthorityGeneration() > 0 && !a.identity.Evicted() {
		if err := a.identity.RotateAuthority(orders.GetAuthorityGeneration(), orders.GetAuthorityLifetime().AsDuration()); err != nil {
			a.Logger.Warn("the new CA could not be made", "error", err)
		}
	}
	if orders.GetRenew() {
		a.renewal.wasRefused()
	}
}

// enforceTrust cuts off those who do not count any more, whenever the chain of
// trust has grown.
func (a *Agent) enforceTrust(ctx context.Context) error {
	for {
		changed := a.identity.TrustChanged()
		if cut := a.port.Recheck() + a.dialer.Recheck(); cut > 0 {
			a.Logger.Warn("connections of those who do not belong to the site any more were cut", "count", cut)
		}
		if !a.identity.Counts() {
			a.renewal.wasRefused() // its CA has left: whoever knows the records takes it, all others do not
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// untilEvicted runs what only a node of the site may do. It ends when this node
// learns that it was evicted, and returns when ctx does.
func (a *Agent) untilEvicted(ctx context.Context, run func(context.Context) error) error {
	memberCtx, leave := context.WithCancel(ctx)
	defer leave()
	ended := make(chan error, 1)
	go func() { ended <- run(memberCtx) }()
	for {
		changed := a.identity.TrustChanged()
		if a.identity.Evicted() {
			leave()
			<-ended // it was told to end
			return a.evicted(ctx)
		}
		select {
		case <-changed:
		case err := <-ended:
			return err
		}
	}
}

// evicted ends what the site has started elsewhere by now, and the replica of
// its log. What stays on this node goes on: nobody else runs it, and its data
// is here.
func (a *Agent) evicted(ctx context.Context) error {
	a.Logger.Error("this node was evicted from the site: it holds no replica, gossips no more, and runs only what stays on it",
		"site", a.identity.Site())
	if err := a.ledger.Accept(OwnOrders(a.ledger.Current())); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// OwnOrders are the last orders of a node that was evicted: what stays on it,
// and nothing that the site would want of it or that others would need.
func OwnOrders(last *sitev1.Assignments) *sitev1.Assignments {
	orders := &sitev1.Assignments{}
	if last != nil {
		orders = proto.CloneOf(last)
	}
	orders.RaftId, orders.GossipKey, orders.Gossip = 0, nil, nil
	var staying []*skerryv1.Placement
	for _, p := range orders.GetPlacements() {
		if p.GetSpec().GetPartition().GetMode() == manifest.Stay {
			staying = append(staying, p)
		}
	}
	orders.Placements = staying
	orders.Secrets = slices.DeleteFunc(orders.GetSecrets(), func(s *sitev1.DeliveredSecret) bool { return !isNamed(s, staying) })
	return orders
}

// isNamed: one of the placements has the secret.
func isNamed(secret *sitev1.DeliveredSecret, placements []*skerryv1.Placement) bool {
	return slices.ContainsFunc(placements, func(p *skerryv1.Placement) bool {
		return p.GetProject() == secret.GetProject() && slices.ContainsFunc(p.GetSpec().GetContainer().GetSecrets(), func(use *skerryv1.SecretUse) bool {
			return use.GetSecret() == secret.GetName()
		})
	})
}

// onRecord tells whether the site has a peer's key on record, as far as this
// node knows.
func (a *Agent) onRecord(peer certs.Peer) bool {
	if replica := a.replicas.active(); replica != nil && replica.OnRecord(peer) {
		return true
	}
	return peer.Role == certs.RoleNode && holds(a.ledger.Current().GetPeers(), peer)
}

func holds(book []*sitev1.Peer, peer certs.Peer) bool {
	for _, known := range book {
		if known.GetName() == peer.Name && len(known.GetKeyFingerprint()) > 0 &&
			string(known.GetKeyFingerprint()) == string(peer.KeyFingerprint) {
			return true
		}
	}
	return false
}

// askWhy learns from a node that refuses this one whether it was evicted, and has
// the voters asked whether its SVID has expired.
func (a *Agent) askWhy(ctx context.Context, address string) {
	a.renewal.wasRefused()
	ctx, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	if err := a.dialer.Learn(ctx, address); err != nil {
		a.Logger.Debug("the chain of trust could not be learnt", "address", address, "error", err)
	}
}
